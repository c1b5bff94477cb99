package demux

// readTrak reads a track and the list of its samples; nil if it is neither video nor sound.
func readTrak(b []byte, movieRate int64) (*mp4Track, error) {
	t := &mp4Track{rate: 1}
	var kind string
	var edits []byte
	var tables map[string][]byte
	err := boxes(b, func(name string, b []byte) error {
		f := &fields{b: b}
		switch name {
		case "tkhd":
			v1 := f.version() == 1
			f.skip(map[bool]int{false: 8, true: 16}[v1])
			t.id = f.u32()
		case "edts":
			return boxes(b, func(name string, b []byte) error {
				if name == "elst" {
					edits = b
				}
				return nil
			})
		case "mdia":
			return boxes(b, func(name string, b []byte) error {
				f := &fields{b: b}
				switch name {
				case "mdhd":
					v1 := f.version() == 1
					f.skip(map[bool]int{false: 8, true: 16}[v1])
					t.rate = max(1, int64(f.u32()))
				case "hdlr":
					f.skip(8)
					kind = string(f.take(4))
				case "minf":
					var err error
					tables, err = sampleTables(b)
					return err
				}
				return f.err()
			})
		}
		return f.err()
	})
	if err != nil || kind != "vide" && kind != "soun" {
		return nil, err
	}
	if t.Track, err = mp4Entry(tables["stsd"], kind == "soun"); err != nil {
		return nil, err
	}
	t.shift = editShift(edits, movieRate, t.rate)
	return t, t.list(tables)
}

func sampleTables(minf []byte) (map[string][]byte, error) {
	tables := map[string][]byte{}
	err := boxes(minf, func(name string, b []byte) error {
		if name != "stbl" {
			return nil
		}
		return boxes(b, func(name string, b []byte) error {
			tables[name] = b
			return nil
		})
	})
	return tables, err
}

// editShift is by how many ticks an edit list moves a track: later by what is empty at
// first, earlier by what is left out.
func editShift(b []byte, movieRate, rate int64) int64 {
	f := &fields{b: b}
	v1 := f.version() == 1
	shift := int64(0)
	for range min(f.u32(), 8) {
		var length, from int64
		if v1 {
			length, from = f.sized(true), int64(uint64(f.u32())<<32|uint64(f.u32()))
		} else {
			length, from = int64(f.u32()), int64(int32(f.u32()))
		}
		f.u32() // rate
		if f.bad || from < -1 || from > 1<<50 || length > 1<<40 {
			return 0
		}
		if from >= 0 {
			return shift - from
		}
		shift += int64(scale(length, max(1, movieRate)).Seconds() * float64(rate))
	}
	return shift
}

// maxSame bounds the samples of a track that all have one size: the file need not hold a
// number for each.
const maxSame = 1 << 20

// list makes the track's samples out of its tables; none if the file is in fragments.
func (t *mp4Track) list(tables map[string][]byte) error {
	sizes := &fields{b: tables["stsz"]}
	if len(sizes.b) == 0 {
		return nil
	}
	sizes.u32()
	same, count := sizes.u32(), int(sizes.u32())
	if sizes.bad || count > maxSamples || same == 0 && count > len(sizes.b)/4 || same != 0 && count > maxSame {
		return errMP4
	}
	offsets, long := &fields{b: tables["stco"]}, false
	if len(offsets.b) == 0 {
		offsets, long = &fields{b: tables["co64"]}, true
	}
	offsets.skip(8)
	per := chunkSizes(tables["stsc"])
	deltas, lates := runs(tables["stts"]), runs(tables["ctts"])
	ticks := int64(0)
	for chunk := uint32(1); len(t.samples) < count; chunk++ {
		at, n := offsets.sized(long), per(chunk)
		if n == 0 || offsets.bad {
			return errMP4
		}
		for range min(int(n), count-len(t.samples)) {
			size := int64(same)
			if same == 0 {
				size = int64(sizes.u32())
			}
			delta, _ := deltas()
			late, _ := lates()
			t.samples = append(t.samples, t.sample(ticks, int64(int32(late)), at, size))
			ticks += int64(delta)
			at += size
		}
	}
	return nil
}

// chunkSizes reads how many samples each chunk has ("stsc"); chunks are asked for in order.
func chunkSizes(b []byte) func(chunk uint32) uint32 {
	f := &fields{b: b}
	f.skip(8)
	var cur uint32
	first := f.u32()
	return func(chunk uint32) uint32 {
		for first != 0 && chunk >= first {
			cur, _, first = f.u32(), f.u32(), f.u32()
		}
		return cur
	}
}

// runs reads a table of counts and values ("stts", "ctts") value by value; past its end they
// are 0.
func runs(b []byte) func() (uint32, bool) {
	f := &fields{b: b}
	f.skip(8)
	var left, value uint32
	return func() (uint32, bool) {
		for left == 0 {
			if f.bad || len(f.b) < 8 {
				return 0, false
			}
			left, value = f.u32(), f.u32()
		}
		left--
		return value, true
	}
}
