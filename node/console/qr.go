package console

import (
	"fmt"
	"net/http"
	"strings"

	"rsc.io/qr"
)

// quiet is the light margin that readers need, in modules (ISO/IEC 18004, section 9.1).
const quiet = 4

// qrCode draws the ticket of one of the node's rooms, to be scanned by a phone.
func (s *Server) qrCode(w http.ResponseWriter, r *http.Request) {
	for _, room := range s.node.Status().Rooms {
		if room.ID != r.PathValue("room") || room.Ticket == "" {
			continue
		}
		code, err := qr.Encode(room.Ticket, qr.L)
		if err != nil {
			http.Error(w, "the ticket does not fit into a QR code", http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "image/svg+xml")
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprint(w, drawQR(code))
		return
	}
	http.Error(w, "this node has no ticket for that room", http.StatusNotFound)
}

// drawQR is code as SVG: a row of dark modules is one stroke of the path.
func drawQR(code *qr.Code) string {
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", from+quiet, y+quiet, x-from, x-from)
			}
		}
	}
	size := code.Size + 2*quiet
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="The ticket as a QR code" shape-rendering="crispEdges">`+
		`<rect width="%d" height="%d" fill="#fff"/><path fill="#000" d="%s"/></svg>`, size, size, size, size, path.String())
}
