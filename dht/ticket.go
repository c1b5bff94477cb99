package dht

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	ticketScheme = "waterfall:"
	ticketMax    = 4096
	ticketHints  = 4
)

// Ticket is the text that a person shares: waterfall:<room id>?name=…&b=<multiaddr>…
type Ticket struct {
	Room      peer.ID
	Name      string
	Bootstrap []ma.Multiaddr // ≤ 4
}

func (t Ticket) String() string {
	var q []string
	if t.Name != "" {
		q = append(q, "name="+url.QueryEscape(t.Name))
	}
	for i, a := range t.Bootstrap {
		if i == ticketHints {
			break
		}
		// Slashes stay readable: they are allowed in a query (RFC 3986 section 3.4).
		q = append(q, "b="+strings.ReplaceAll(url.QueryEscape(a.String()), "%2F", "/"))
	}
	s := ticketScheme + t.Room.String()
	if len(q) > 0 {
		s += "?" + strings.Join(q, "&")
	}
	return s
}

// ParseTicket reads a ticket or a bare room ID; errors are one line for a person, with a hint.
func ParseTicket(s string) (Ticket, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return Ticket{}, fmt.Errorf("the ticket is empty (hint: paste all of it, waterfall:12D3Koo…)")
	}
	if len(s) > ticketMax {
		return Ticket{}, fmt.Errorf("the ticket has %d characters, more than any ticket (hint: paste only the ticket)", len(s))
	}
	rest, found := strings.CutPrefix(s, ticketScheme)
	if !found && strings.Contains(s, ":") {
		scheme, _, _ := strings.Cut(s, ":")
		return Ticket{}, fmt.Errorf("%q is no ticket: it begins with %q (hint: tickets begin with %q)", brief(s), brief(scheme+":"), ticketScheme)
	}
	id, query, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "?")
	if strings.HasPrefix(id, "/") {
		return Ticket{}, fmt.Errorf("%q is an address, not a room (hint: give it as --bootstrap, and the ticket as ROOM)", brief(id))
	}
	room, err := peer.Decode(id)
	if err != nil {
		return Ticket{}, fmt.Errorf("%q is no room ID (hint: a room ID begins with 12D3Koo and has 52 characters; was the ticket cut short?)", brief(id))
	}
	if _, ok := keyOf(room); !ok {
		return Ticket{}, fmt.Errorf("%q is a peer ID, but no room's: rooms have Ed25519 keys (hint: a room ID begins with 12D3Koo)", brief(id))
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return Ticket{}, fmt.Errorf("the ticket's part after %q can't be read (hint: paste the ticket unchanged, in quotes)", "?")
	}
	t := Ticket{Room: room, Name: q.Get("name")}
	if len(t.Name) > maxName || !utf8.ValidString(t.Name) {
		return Ticket{}, fmt.Errorf("the ticket's name is longer than %d bytes or not text (hint: paste the ticket unchanged)", maxName)
	}
	for _, b := range q["b"] {
		a, err := ma.NewMultiaddr(b)
		if err != nil {
			return Ticket{}, fmt.Errorf("the ticket's bootstrap address %q is no multiaddr (hint: paste the ticket unchanged, in quotes)", brief(b))
		}
		ai, err := peer.AddrInfoFromP2pAddr(a)
		if err != nil || len(ai.Addrs) == 0 {
			return Ticket{}, fmt.Errorf("the ticket's bootstrap address %q names no peer (hint: it ends in /p2p/12D3Koo…)", brief(b))
		}
		if _, ok := keyOf(ai.ID); !ok {
			return Ticket{}, fmt.Errorf("the ticket's bootstrap address %q has a peer ID that is not Ed25519 (hint: it ends in /p2p/12D3Koo…)", brief(b))
		}
		if len(t.Bootstrap) < ticketHints {
			t.Bootstrap = append(t.Bootstrap, a)
		}
	}
	return t, nil
}

// brief cuts what a person typed to a length that fits an error line.
func brief(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
