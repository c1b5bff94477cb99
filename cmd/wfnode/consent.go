package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/watergy/waterfall/node/home"
)

// consentText is what a listener is told before its node first passes anything on.
const consentText = `Nobody's server carries these streams: who listens passes them on. This node will send
what you hear to a few other listeners (four at most by default, about 2.5 Mbit/s each, and
less where your uplink carries less); they and the node that feeds you see your IP address.`

// answerTime is how long a person may take to answer: there are terminals with nobody at them.
const answerTime = time.Minute

// relayConsent says whether this node may pass streams on, asking if nobody has answered
// yet and somebody is there. notice is to be printed when the node runs; where nobody can
// be asked it is the text, and to be kept as told.
func (f *nodeFlags) relayConsent(ctx context.Context, h *home.Home) (relay bool, notice string, err error) {
	answer, err := h.Consent()
	if err != nil {
		return false, "", err
	}
	if f.yes && answer != home.Agreed {
		return true, "", h.SetConsent(home.Agreed)
	}
	switch {
	case answer == home.Agreed:
		return true, "", nil
	case answer == home.Declined:
		return false, "passing nothing on, as you chose (hint: --yes passes on from now on)", nil
	case onTerminal() && term.IsTerminal(int(os.Stderr.Fd())):
		wait, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		answer, err = askConsent(wait, interruptible(wait, os.Stdin), os.Stderr)
		if errors.Is(err, context.DeadlineExceeded) {
			return false, "nobody has answered; passing nothing on this time (hint: --yes or --no-relay answers without being asked)", nil
		}
		if err != nil {
			return false, "", err
		}
		return answer == home.Agreed, "", h.SetConsent(answer)
	case answer == home.Told:
		return true, "", nil
	}
	text := strings.ReplaceAll(consentText, "\n", " ")
	return true, text + " (hint: --no-relay or --metered passes nothing on; --yes says that you have read this)", nil
}

// askRelay finds out whether this node may pass on what others speak. Unless now is set it
// asks and tells nobody: nothing is passed on then before somebody has said or been told so.
func (r *running) askRelay(ctx context.Context, f *nodeFlags, now bool) (err error) {
	if now || f.yes {
		r.relays, r.notice, err = f.relayConsent(ctx, r.home)
		return err
	}
	kept, err := r.home.Consent()
	r.relays = kept == home.Agreed || kept == home.Told
	return err
}

// askConsent asks until there is an answer; none is a yes.
func askConsent(ctx context.Context, in io.Reader, out io.Writer) (home.Consent, error) {
	fmt.Fprintln(out, consentText)
	lines := bufio.NewScanner(in)
	for {
		fmt.Fprint(out, "Pass streams on to others? [Y/n] ")
		if !lines.Scan() {
			if ctx.Err() != nil {
				return home.NotAsked, ctx.Err()
			}
			return home.NotAsked, errors.Join(errors.New("no answer (hint: --yes or --no-relay answers without being asked)"), lines.Err())
		}
		switch strings.ToLower(strings.TrimSpace(lines.Text())) {
		case "", "y", "yes":
			return home.Agreed, nil
		case "n", "no":
			return home.Declined, nil
		}
	}
}
