package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"path"
	"time"
)

//go:embed page
var pageFiles embed.FS

// style is the line of index.html in whose place the style sheet goes, so that the first paint
// waits for no second answer.
const style = `<link rel="stylesheet" href="style.css">`

// pageAndPolicy are the page with its style inside, and the policy that lets it load nothing but its own
// files, wear no other style, and talk to nobody but its node.
func pageAndPolicy() (html []byte, policy string, err error) {
	html, err = pageFiles.ReadFile("page/index.html")
	if err != nil {
		return nil, "", err
	}
	css, err := pageFiles.ReadFile("page/style.css")
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(css)
	html = bytes.Replace(html, []byte(style), append(append([]byte("<style>"), css...), "</style>"...), 1)
	return html, "default-src 'none'; script-src 'self'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src 'self' data:; connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", nil
}

// page serves the page's files; they change only with the program.
func page(mux *http.ServeMux, html []byte) error {
	scripts, err := pageFiles.ReadDir("page")
	if err != nil {
		return err
	}
	serve := func(pattern, name string, b []byte) {
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache")
			http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
		})
	}
	serve("/{$}", "index.html", html)
	for _, f := range scripts {
		if path.Ext(f.Name()) != ".js" {
			continue
		}
		b, err := pageFiles.ReadFile("page/" + f.Name())
		if err != nil {
			return err
		}
		serve("/"+f.Name(), f.Name(), b)
	}
	return nil
}
