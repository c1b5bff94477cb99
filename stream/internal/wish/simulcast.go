package wish

import (
	"slices"
	"strconv"
	"strings"
)

// layer is a rendition that an offer would send beside others (RFC 8851, RFC 8853).
type layer struct {
	id   string
	size int // by its restrictions; 0: none given
}

// rank is how large a layer of a usual name is; browsers' examples and SFUs agree on these.
var rank = map[string]int{
	"f": 5, "full": 5, "high": 5, "hi": 5, "hd": 5, "h": 4,
	"half": 3, "mid": 3, "medium": 3, "m": 3,
	"q": 1, "quarter": 1, "low": 1, "lo": 1, "l": 1,
}

// TakeHighest leaves of a simulcast offer its highest layer, so that the answer declines
// the others and the publisher does not encode them. An answer that simply ignored simulcast
// would get the first layer, which browsers make the smallest. program is the User-Agent.
func (o *Offer) TakeHighest(program string) (rid string) {
	layers := o.layers()
	if len(layers) == 0 {
		return ""
	}
	rid = highest(layers, program)
	var out strings.Builder
	for line := range strings.Lines(o.SDP) {
		v := strings.TrimSpace(line)
		if v, ok := strings.CutPrefix(v, "a=rid:"); ok {
			if f := strings.Fields(v); len(f) == 0 || f[0] != rid {
				continue
			}
		}
		if strings.HasPrefix(v, "a=simulcast:") {
			line = "a=simulcast:send " + rid + "\r\n"
		}
		out.WriteString(line)
	}
	o.SDP = out.String()
	return rid
}

// layers lists what the offer would send at a time, in its order.
func (o *Offer) layers() []layer {
	sizes, offered := map[string]int{}, ""
	for line := range strings.Lines(o.SDP) {
		line = strings.TrimSpace(line)
		if v, ok := strings.CutPrefix(line, "a=rid:"); ok {
			if f := strings.Fields(v); len(f) > 1 && f[1] == "send" {
				sizes[f[0]] = restricted(f[2:])
			}
		}
		if v, ok := strings.CutPrefix(line, "a=simulcast:"); ok && offered == "" {
			f := strings.Fields(v)
			if i := slices.Index(f, "send"); i >= 0 && i+1 < len(f) {
				offered = f[i+1]
			}
		}
	}
	var out []layer
	for s := range strings.SplitSeq(offered, ";") {
		id, _, _ := strings.Cut(s, ",") // the first of alternatives
		id = strings.TrimPrefix(id, "~")
		if size, ok := sizes[id]; ok {
			out = append(out, layer{id, size})
		}
	}
	return out
}

// restricted is the number of pixels, or else of bits a second, that a layer may have.
func restricted(words []string) int {
	limits := map[string]int{}
	for part := range strings.SplitSeq(strings.Join(words, ""), ";") {
		k, v, _ := strings.Cut(part, "=")
		if n, err := strconv.ParseUint(v, 10, 24); err == nil {
			limits[k] = int(n)
		}
	}
	if w, h := limits["max-width"], limits["max-height"]; w > 0 && h > 0 {
		return w * h
	}
	return max(limits["max-width"], limits["max-height"], limits["max-fs"], limits["max-br"])
}

func highest(layers []layer, program string) string {
	bySize := slices.MaxFunc(layers, func(a, b layer) int { return a.size - b.size })
	named := !slices.ContainsFunc(layers, func(l layer) bool { return rank[l.id] == 0 })
	switch {
	case bySize.size > 0:
		return bySize.id
	case named:
		return slices.MaxFunc(layers, func(a, b layer) int { return rank[a.id] - rank[b.id] }).id
	case strings.Contains(program, "OBS-Studio"):
		return layers[0].id // it begins with the full picture
	}
	return layers[len(layers)-1].id // W3C: each is half of the next unless said otherwise
}
