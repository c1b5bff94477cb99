package console

import (
	"bytes"
	"embed"
	"net/http"
	"time"
)

//go:embed page
var pageFiles embed.FS

// policy lets the page load nothing but its own files and talk to nobody but its node.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page serves the page's files; they change only with the program.
func page(mux *http.ServeMux) {
	for pattern, name := range map[string]string{
		"GET /{$}":       "index.html",
		"GET /app.js":    "app.js",
		"GET /view.js":   "view.js",
		"GET /media.js":  "media.js",
		"GET /speak.js":  "speak.js",
		"GET /tree.js":   "tree.js",
		"GET /style.css": "style.css",
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			b, err := pageFiles.ReadFile("page/" + name)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Cache-Control", "no-cache")
			http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
		})
	}
}
