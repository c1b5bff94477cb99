package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/watergy/waterfall/node/home"
)

// No answer is a yes only if somebody has pressed the key.
func TestAskConsent(t *testing.T) {
	for typed, want := range map[string]home.Consent{
		"\n": home.Agreed, "y\n": home.Agreed, " YES \n": home.Agreed, "n\n": home.Declined, "what?\nno\n": home.Declined, "": home.NotAsked,
	} {
		var out bytes.Buffer
		got, err := askConsent(t.Context(), strings.NewReader(typed), &out)
		if got != want || (err != nil) != (want == home.NotAsked) {
			t.Errorf("%q: %q, %v", typed, got, err)
		}
		if asked := strings.Count(out.String(), "[Y/n]"); asked != max(1, strings.Count(typed, "\n")) {
			t.Errorf("%q: asked %d times", typed, asked)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	silent, _ := io.Pipe()
	if _, err := askConsent(gone, interruptible(gone, silent), io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
