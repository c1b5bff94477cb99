package tree

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/golden"
)

// TestScripts plays testdata/*.txt. A script drives one Peer: blocks of commands, a
// line of dashes, and the actions they gave. Blank lines part the blocks; # begins a
// comment. go test ./tree -run TestScripts -rewrite writes the actions anew.
//
//	peer NAME [root] [slots=N] [nat=KIND:SITE] the Peer of this script; KIND as NAT numbers it
//	at DURATION                                time of what follows; the Peer is woken at its deadlines on the way
//	head SEQ NODE:LAYER:OPENING…               a head from signalling
//	offer ID JOINER [like the offers below]    an offer from signalling
//	answer FROM accepted|full|unreached [PATH…]          an answer to the offer that is out; PATH without FROM
//	answer-first FROM accepted|full            an answer to the offer that was sent first
//	up|down|flowing|poor NODE
//	silent|starved|idle|unwelcome|rtt NODE DURATION
//	slots N | reach KIND:SITE | speakers NODE… | leave | view
//	from NODE path STAMP HOPS… | sum LAYERS OPEN [seen=N] [nat=KIND:SITE] [restricted=OPEN] [symmetric=OPEN] | head SEQ NODE:LAYER:OPENING… [open=LAYERS] |
//	          offer NUM ID JOINER [below=N] [slots=N] [nat=KIND:SITE] [up=N] [avoid=NODE] [move|stand] [deepest=N] | up ID JOINER [like offer] |
//	          noroom JOINER ID | reply JOINER ID | beat N | fresh | leaving | gone | move | stand PARENT;
//	          JOINER ID of the Peer itself: "self last" is the offer that it sent last
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 2 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if name == "wire" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			golden.Compare(t, file, playScript(t, golden.Read(t, file)))
		})
	}
}

// script is a Peer with the names and times of a script.
type script struct {
	t     *testing.T
	p     *Peer
	now   time.Duration
	offer OfferID // out
	first OfferID // of all
}

var scriptEpoch = time.Unix(0, 0)

func playScript(t *testing.T, text string) string {
	s := &script{t: t}
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		var got []string
		commands := false
		for _, line := range strings.Split(block, "\n") {
			if line == "----" {
				break
			}
			fmt.Fprintln(&out, line)
			if strings.HasPrefix(line, "#") {
				continue
			}
			commands = true
			got = append(got, s.command(strings.Fields(line))...)
		}
		if commands {
			out.WriteString("----\n")
			for _, g := range got {
				fmt.Fprintln(&out, g)
			}
		}
		out.WriteString("\n")
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func (s *script) command(f []string) []string {
	switch f[0] {
	case "peer":
		cfg := Config{Self: NodeID(f[1]), Contact: []byte("c" + f[1]), Seed: 1}
		for _, o := range f[2:] {
			if o == "root" {
				cfg.Root = true
			} else if nat, ok := strings.CutPrefix(o, "nat="); ok {
				cfg.Reach = s.reach(nat)
			} else {
				cfg.Slots = s.number(strings.TrimPrefix(o, "slots="))
			}
		}
		p, err := New(cfg)
		if err != nil {
			s.t.Fatal(err)
		}
		s.p = p
		return s.step(nil)
	case "at":
		return s.advance(s.duration(f[1]))
	case "view":
		v := s.p.View()
		return []string{fmt.Sprintf("attached=%v layer=%d path=%v parent=%s backup=%s children=%v subtree=%d below=%d switches=%d%s",
			v.Attached, v.Layer, v.Path, v.Parent, v.Backup, v.Children, v.Subtree, v.Below, v.Switches,
			map[bool]string{true: " out of reach"}[v.OutOfReach])}
	}
	return s.step(s.event(f))
}

// advance wakes the Peer at each deadline until d, as the node's loop does.
func (s *script) advance(d time.Duration) (out []string) {
	for n := 0; ; n++ {
		next := s.p.Deadline()
		if next.IsZero() || next.After(scriptEpoch.Add(d)) {
			s.now = d
			return out
		}
		if n > 1000 {
			s.t.Fatalf("the Peer wants to be woken again and again at %v", s.now)
		}
		s.now = max(s.now, next.Sub(scriptEpoch))
		for _, line := range s.step(nil) {
			out = append(out, fmt.Sprintf("%v: %s", s.now.Round(time.Millisecond), line))
		}
	}
}

func (s *script) step(ev Event) (out []string) {
	for _, a := range s.p.Step(scriptEpoch.Add(s.now), ev) {
		if o, ok := a.(SendOffer); ok {
			s.offer = o.Offer
			s.first = cmp.Or(s.first, o.Offer)
		}
		out = append(out, actionString(a))
	}
	return out
}

func (s *script) event(f []string) Event {
	node := func() NodeID { return NodeID(f[1]) }
	switch f[0] {
	case "head":
		return HeadSeen{Head: s.head(f[1:])}
	case "offer":
		return OfferReceived{Offer: s.newOffer(f[1:])}
	case "answer", "answer-first":
		a := AnswerReceived{Offer: s.offer, From: node(), Verdict: Full}
		if f[0] == "answer-first" {
			a.Offer = s.first
		}
		switch f[2] {
		case "accepted":
			a.Verdict = Accepted
			a.Path = append(nodes(f[3:]), node())
		case "unreached":
			a.Verdict = OutOfReach
		}
		return a
	case "up":
		return LinkUp{Peer: node()}
	case "down":
		return LinkDown{Peer: node()}
	case "flowing":
		return Flowing{Peer: node()}
	case "silent":
		return Silent{Peer: node(), For: s.duration(f[2])}
	case "starved":
		return Starved{Peer: node(), For: s.duration(f[2])}
	case "idle":
		return Idle{Peer: node(), For: s.duration(f[2])}
	case "unwelcome":
		return Unwelcome{Peer: node(), For: s.duration(f[2])}
	case "rtt":
		return Measured{Peer: node(), RTT: s.duration(f[2])}
	case "slots":
		return SetSlots{Slots: s.number(f[1])}
	case "reach":
		return SetReach{Reach: s.reach(f[1])}
	case "poor":
		return Poor{Peer: node()}
	case "relocated":
		return Relocated{}
	case "leave":
		return Leave{}
	case "speakers":
		return SetSpeakers{Nodes: nodes(f[1:])}
	case "from":
		return MessageReceived{From: node(), Message: s.message(f[2:])}
	}
	s.t.Fatalf("unknown command %q", f)
	return nil
}

func (s *script) message(f []string) Message {
	switch f[0] {
	case "path":
		p := Path{Stamp: uint64(s.number(f[1])), Slots: DefaultSlots}
		for _, n := range f[2:] {
			p.Hops = append(p.Hops, Hop{Node: NodeID(n), Contact: []byte("c" + n)})
		}
		return p
	case "sum":
		m := Sum{Layers: s.numbers(f[1]), Open: s.numbers(f[2]), Contact: []byte("c")}
		if len(m.Open) > 0 {
			m.Slots = int(m.Open[0])
		}
		if len(m.Layers) > 1 {
			m.Slots += int(m.Layers[1])
		}
		for _, opt := range f[3:] {
			switch key, v, _ := strings.Cut(opt, "="); key {
			case "seen":
				m.Seen = uint64(s.number(v))
			case "nat":
				m.Reach = s.reach(v)
			case "restricted":
				m.Strict[0] = s.numbers(v)
			case "symmetric":
				m.Strict[1] = s.numbers(v)
			default:
				s.t.Fatalf("unknown option %q", opt)
			}
		}
		return m
	case "head":
		h := s.head(f[1:])
		return HeadDown{Stamp: h.Seq, Head: h}
	case "offer":
		rest, deepest := cutDeepest(f[2:])
		return HandDown{Num: uint64(s.number(f[1])), Hops: 1, Deepest: s.number(deepest), Offer: s.newOffer(rest)}
	case "up":
		rest, deepest := cutDeepest(f[1:])
		return HandUp{Hops: 1, Deepest: s.number(deepest), Offer: s.newOffer(rest)}
	case "noroom":
		return NoRoom{Joiner: NodeID(f[1]), Offer: s.offerID(f[2])}
	case "reply":
		return Reply{Joiner: NodeID(f[1]), Offer: s.offerID(f[2]), Raw: []byte("raw")}
	case "stand":
		return Stand{Parent: NodeID(f[1])}
	case "move":
		return Move{}
	case "beat":
		return Beat{Stamp: uint64(s.number(f[1]))}
	case "fresh":
		return Fresh{}
	case "leaving":
		return Leaving{}
	case "gone":
		return Gone{}
	}
	s.t.Fatalf("unknown message %q", f)
	return nil
}

func (s *script) head(f []string) Head {
	h := Head{Seq: uint64(s.number(f[0]))}
	for _, e := range f[1:] {
		if open, ok := strings.CutPrefix(e, "open="); ok {
			h.Open = s.numbers(open)
			continue
		}
		part := strings.Split(e, ":")
		h.Entries = append(h.Entries, Entry{
			Node: NodeID(part[0]), Contact: []byte("c" + part[0]),
			Layer: s.number(part[1]), Opening: s.number(part[2]), Free: 1,
		})
	}
	return h
}

func (s *script) newOffer(f []string) Offer {
	o := Offer{ID: OfferID(s.number(f[0])), Joiner: NodeID(f[1]), Below: 1, Raw: []byte("raw")}
	for _, opt := range f[2:] {
		key, v, _ := strings.Cut(opt, "=")
		switch key {
		case "below":
			o.Below = s.number(v)
		case "slots":
			o.Slots = s.number(v)
		case "nat":
			o.Reach = s.reach(v)
		case "up":
			o.Up = s.number(v)
		case "avoid":
			o.Avoid = NodeID(v)
		case "move":
			o.Purpose = ToMove
		case "stand":
			o.Purpose = ToStand
		default:
			s.t.Fatalf("unknown option %q", opt)
		}
	}
	return o
}

func cutDeepest(f []string) (rest []string, deepest string) {
	if v, ok := strings.CutPrefix(f[len(f)-1], "deepest="); ok {
		return f[:len(f)-1], v
	}
	return f, fmt.Sprint(maxPath)
}

func (s *script) offerID(x string) OfferID {
	if x == "last" {
		return s.offer
	}
	return OfferID(s.number(x))
}

func (s *script) number(x string) int {
	n, err := strconv.Atoi(x)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// reach reads "3:7": a kind of NAT and a site.
func (s *script) reach(x string) Reach {
	kind, site, _ := strings.Cut(x, ":")
	return Reach{NAT: NAT(s.number(kind)), Site: uint16(s.number(site))}
}

// numbers reads "1,2,3"; "-" is none.
func (s *script) numbers(x string) (out []uint32) {
	if x == "-" {
		return nil
	}
	for _, n := range strings.Split(x, ",") {
		out = append(out, uint32(s.number(n)))
	}
	return out
}

func (s *script) duration(x string) time.Duration {
	d, err := time.ParseDuration(x)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func nodes(f []string) (out []NodeID) {
	for _, n := range f {
		out = append(out, NodeID(n))
	}
	return out
}

func actionString(a Action) string {
	switch a := a.(type) {
	case SendOffer:
		s := fmt.Sprintf("send offer to %s%s below=%d", a.To.Node, purposeString(a.Purpose), a.Below)
		if a.Via != "" {
			s = fmt.Sprintf("send offer via %s%s below=%d deepest=%d", a.Via, purposeString(a.Purpose), a.Below, a.Deepest)
		}
		if a.Avoid != "" {
			s += " avoid=" + string(a.Avoid)
		}
		return s
	case DropOffer:
		return "drop offer"
	case Answer:
		if a.Verdict != Accepted {
			return fmt.Sprintf("answer %s: %s", a.Offer.Joiner, [...]string{Full: "full", OutOfReach: "out of reach"}[a.Verdict])
		}
		s := fmt.Sprintf("answer %s: accepted, path %v", a.Offer.Joiner, a.Path)
		if a.Via != "" {
			s += " via " + string(a.Via)
		}
		return s
	case OpenAnswer:
		return "open answer"
	case Send:
		return fmt.Sprintf("send %s: %s", a.To, messageString(a.Message))
	case PublishHead:
		return "publish " + headString(a.Head)
	case Watch:
		return fmt.Sprintf("watch heads=%v offers=%v", a.Heads, a.Offers)
	default: // Attach, Detach, Serve, Unserve, Release, Left: at most a node
		name := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", a), "tree."))
		return strings.TrimSpace(name + " " + strings.Trim(fmt.Sprintf("%v", a), "{}"))
	}
}

func purposeString(p Purpose) string { return [...]string{"", " to move", " to stand"}[p] }

func headString(h Head) string {
	s := fmt.Sprintf("head %d layers=%v free=%d entries", h.Seq, h.Layers, h.Free)
	for _, e := range h.Entries {
		s += fmt.Sprintf(" %s:%d:%d", e.Node, e.Layer, e.Opening)
	}
	return s
}

func messageString(m Message) string {
	switch m := m.(type) {
	case Path:
		s := fmt.Sprintf("path stamp=%d", m.Stamp)
		for _, h := range m.Hops {
			s += " " + string(h.Node)
			if len(h.Contact) == 0 {
				s += "(no contact)"
			}
		}
		return s
	case Sum:
		s := fmt.Sprintf("sum layers=%v open=%v seen=%d", m.Layers, m.Open, m.Seen)
		for _, e := range m.Entries {
			s += fmt.Sprintf(" %s:%d:%d", e.Node, e.Layer, e.Opening)
		}
		return s
	case HeadDown:
		return fmt.Sprintf("stamp=%d %s", m.Stamp, headString(m.Head))
	case HandDown:
		return fmt.Sprintf("offer %d of %s%s num=%d hops=%d deepest=%d", m.Offer.ID, m.Offer.Joiner, purposeString(m.Offer.Purpose), m.Num, m.Hops, m.Deepest)
	case HandUp:
		return fmt.Sprintf("up offer of %s%s hops=%d deepest=%d", m.Offer.Joiner, purposeString(m.Offer.Purpose), m.Hops, m.Deepest)
	case Reply:
		return fmt.Sprintf("reply to %s", m.Joiner)
	case Stand:
		return fmt.Sprintf("stand, parent %s", m.Parent)
	case NoRoom:
		return fmt.Sprintf("no room for %s %d", m.Joiner, m.Offer)
	case Beat:
		return fmt.Sprintf("beat %d", m.Stamp)
	default:
		return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", m), "tree."))
	}
}
