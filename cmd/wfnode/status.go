package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/node/home"
)

// statusTime bounds a look at a console; maxStatus the document's size.
const (
	statusTime = 3 * time.Second
	maxStatus  = 8 << 20
)

func statusCommand() *cobra.Command {
	var (
		at     consoleFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell what the running node is doing",
		Args:  takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, token, err := at.find(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), statusTime)
			defer cancel()
			b, err := getStatus(ctx, http.DefaultClient, base, token)
			if err != nil {
				return err
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(b)
				return err
			}
			var st node.Status
			if err := json.Unmarshal(b, &st); err != nil {
				return fmt.Errorf("status from %s: %w", base, err)
			}
			printStatus(cmd.OutOrStdout(), st)
			return nil
		},
	}
	at.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the status document")
	return cmd
}

// consoleFlags say which running node a command is about.
type consoleFlags struct {
	homeFlags
	console, tokenFile string
}

func (f *consoleFlags) add(fs *pflag.FlagSet) {
	f.homeFlags.add(fs)
	fs.StringVar(&f.console, "console", "", "`ADDR` of the node's console (default: the node that runs on this home)")
	fs.StringVar(&f.tokenFile, "token-file", "", "`FILE` with the console's token")
}

// find is the console's base URL, and its token if one was named.
func (f *consoleFlags) find(cmd *cobra.Command) (base *url.URL, token string, err error) {
	if base, err = findConsole(f.dir, f.console, cmd.Flags().Changed("console")); err != nil {
		return nil, "", err
	}
	if f.tokenFile != "" {
		token, err = readSecret(f.tokenFile)
	}
	return base, token, err
}

// findConsole is the console given, or the one of the node that runs on the home. A
// configured address with port 0 says nothing, so the running node's note goes first.
func findConsole(dir, given string, chosen bool) (*url.URL, error) {
	if chosen && given != "none" && !strings.HasSuffix(given, ":0") {
		return consoleURL(given)
	}
	h, err := home.Open(dir)
	if err != nil {
		return nil, err
	}
	noted, err := h.Console()
	if err != nil {
		return nil, err
	}
	return consoleURL(noted)
}

// getStatus gets the status document from a console.
func getStatus(ctx context.Context, client *http.Client, base *url.URL, token string) ([]byte, error) {
	return getDocument(ctx, client, base, token, "api/v1/status")
}

// getDocument gets a document below a console's base URL.
func getDocument(ctx context.Context, client *http.Client, base *url.URL, token, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the console: %w", err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("no node answers at %s: %w (hint: is it running? name its home with --home DIR, or its address with --console)", base, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return nil, fmt.Errorf("read the console's answer: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return b, nil
	case http.StatusUnauthorized:
		return nil, refusedf("the console at %s asks for its token (hint: --token-file FILE)", base)
	}
	return nil, fmt.Errorf("the console at %s answered %s: %s", base, resp.Status, strings.TrimSpace(string(b[:min(len(b), 200)])))
}

// printStatus writes a status document for a person.
func printStatus(w io.Writer, st node.Status) {
	up := time.Duration(st.UptimeS * float64(time.Second)).Round(time.Second)
	fmt.Fprintf(w, "peer: %s\nversion: %s, up %v\n", st.PeerID, st.Version, up)
	for _, a := range st.Addresses {
		fmt.Fprintf(w, "address: %s\n", a)
	}
	fmt.Fprintf(w, "nat: %s\n", st.NAT)
	fmt.Fprintf(w, "dht: %s, %d peers connected, %d in the table\n", st.DHT.Mode, st.DHT.Connected, st.DHT.Table)
	for _, r := range st.Rooms {
		fmt.Fprintf(w, "\nroom: %s %q, %s", r.ID, r.Name, r.Admission)
		if r.Members != nil {
			fmt.Fprintf(w, ", %d members", *r.Members)
		}
		fmt.Fprintln(w)
		if len(r.Streams) == 0 {
			fmt.Fprintln(w, "  no one is speaking")
		}
		for _, s := range r.Streams {
			printStream(w, s)
		}
	}
}

func printStream(w io.Writer, s node.StreamStatus) {
	fmt.Fprintf(w, "  stream %s: %s, %s", s.ID, s.State, s.Role)
	if s.Layer != nil {
		fmt.Fprintf(w, " in layer %d", *s.Layer)
	}
	fmt.Fprintf(w, "\n    parent %s, children %d of %d, %d nodes below", orNone(s.Parent), s.Slots.Used, s.Slots.Max, s.Subtree-1)
	if s.PathDelayMS != nil {
		fmt.Fprintf(w, ", path delay %.0f ms", *s.PathDelayMS)
	}
	if s.Switches > 0 {
		fmt.Fprintf(w, ", parent changed %d times", s.Switches)
	}
	fmt.Fprintln(w)
	if s.Verdict != nil {
		fmt.Fprintf(w, "    %s\n", *s.Verdict)
	}
	for _, t := range s.Tracks {
		fmt.Fprintf(w, "    %s %s: %.2f Mbit/s, %d received, %d lost, %d repaired, %d forwarded\n",
			t.ID, t.Codec, float64(t.BitrateBPS)/1e6, t.Received, t.Lost, t.Repaired, t.Forwarded)
	}
}

func orNone(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}
