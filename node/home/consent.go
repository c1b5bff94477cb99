package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Consent is what this home's owner has said about passing streams on to others.
type Consent string

const (
	NotAsked Consent = ""     // nobody has been told
	Told     Consent = "told" // nobody was there to ask; it was printed once
	Agreed   Consent = "yes"
	Declined Consent = "no"
)

// Consent is the answer that was kept.
func (h *Home) Consent() (Consent, error) {
	b, err := os.ReadFile(h.path("consent"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return NotAsked, fmt.Errorf("read the consent: %w", err)
	}
	switch c := Consent(strings.TrimSpace(string(b))); c {
	case Told, Agreed, Declined:
		return c, nil
	}
	return NotAsked, nil
}

// SetConsent keeps an answer.
func (h *Home) SetConsent(c Consent) error {
	if err := replacePrivate(h.path("consent"), []byte(c+"\n")); err != nil {
		return fmt.Errorf("keep the consent: %w", err)
	}
	return nil
}
