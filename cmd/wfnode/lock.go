package main

import (
	"bytes"
	"crypto/rand"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/dht/pgp"
	"github.com/watergy/waterfall/node/home"
)

// weakPassword is how short a password is warned of.
const weakPassword = 14

// lockFlags say who may enter a room.
type lockFlags struct {
	passwordFile       string
	generate           bool
	recipients, hidden []string
}

func (f *lockFlags) add(fs *pflag.FlagSet) {
	f.addPassword(fs)
	fs.StringSliceVar(&f.recipients, "pgp-recipient", nil, "OpenPGP public key `FILE` of who may enter, repeatable")
	fs.StringSliceVar(&f.hidden, "pgp-hidden-recipient", nil, "the same, for at most 16 keys of which the room's record shall not show that they are admitted")
}

func (f *lockFlags) addPassword(fs *pflag.FlagSet) {
	fs.StringVar(&f.passwordFile, "password-file", "", "`FILE` with the password to enter with on its first line, or - to be asked; if it is empty one is generated")
	fs.BoolVar(&f.generate, "password-generate", false, "generate a password to enter with, and print it once")
}

// apply locks r as the flags say. It returns a password that was generated.
func (f *lockFlags) apply(cmd *cobra.Command, r *home.Room, out *output) (generated string, err error) {
	byPassword, byKey := f.passwordFile != "" || f.generate, len(f.recipients)+len(f.hidden) > 0
	switch {
	case byPassword && byKey:
		return "", usagef("a room admits by password or by key (hint: give either --password-… or --pgp-…)")
	case byPassword:
		return f.lockPassword(cmd, r, out)
	case byKey:
		if r.Recipients, err = addKeys(r.Recipients, f.recipients); err != nil {
			return "", err
		}
		if r.Hidden, err = addKeys(r.Hidden, f.hidden); err != nil {
			return "", err
		}
		return "", lockPGP(r, dht.NewSecret())
	}
	return "", nil
}

// lockPassword gives r a password and a new secret.
func (f *lockFlags) lockPassword(cmd *cobra.Command, r *home.Room, out *output) (generated string, err error) {
	var password []byte
	if f.passwordFile != "" {
		if f.generate {
			return "", usagef("--password-file and --password-generate: which password? (hint: give one; of an empty file one is generated)")
		}
		if password, err = readPassword(cmd, f.passwordFile, "New password of the room: "); err != nil {
			return "", err
		}
		if f.passwordFile == "-" && len(password) > 0 {
			again, err := askTerminal("Once more: ")
			if err != nil {
				return "", err
			}
			if !bytes.Equal(password, again) {
				return "", usagef("the two passwords differ (hint: try again)")
			}
		}
	}
	if len(password) == 0 {
		generated = generatePassword()
		password = []byte(generated)
	} else if len(password) < weakPassword {
		out.warn("the password is short", fmt.Errorf("the room's record is public, and lets anybody try passwords offline (hint: --password-generate makes one that stands that)"))
	}
	r.Lock, err = dht.LockPassword(r.ID, max(r.Epoch, 1), dht.NewSecret(), password)
	return generated, err
}

// generatePassword makes 5 groups of 4 letters and digits that are not easily mistaken:
// 100 bits.
func generatePassword() string {
	const letters = "abcdefghjkmnpqrstuvwxyz023456789" // 32: without i, l, o, 1
	var raw [20]byte
	rand.Read(raw[:])
	var b []byte
	for i, x := range raw {
		if i > 0 && i%4 == 0 {
			b = append(b, '-')
		}
		b = append(b, letters[x%32])
	}
	return string(b)
}

// addKeys adds the public keys of files to list; one that is there is replaced.
func addKeys(list [][]byte, files []string) ([][]byte, error) {
	kept, err := keptRecipients(list)
	if err != nil {
		return nil, err
	}
	at := map[string]int{} // by fingerprint
	for i, k := range kept {
		at[string(k.Fingerprint)] = i
	}
	for _, path := range files {
		b, err := readLimited(path, maxKeyFile)
		if err != nil {
			return nil, usagef("read a public key: %w", err)
		}
		keys, err := pgp.ParseRecipients(b)
		if err != nil {
			return nil, usagef("%s: %w", path, err)
		}
		for _, k := range keys {
			m, err := k.Marshal()
			if err != nil {
				return nil, err
			}
			if i, ok := at[string(k.Fingerprint)]; ok {
				list[i] = m
				continue
			}
			at[string(k.Fingerprint)] = len(list)
			list = append(list, m)
		}
	}
	return list, nil
}

// dropKey takes the key with a fingerprint out of list, and says whether it was there.
func dropKey(list [][]byte, fingerprint []byte) (rest [][]byte, was bool) {
	for _, b := range list {
		if k, err := pgp.ParseRecipients(b); err == nil && bytes.Equal(k[0].Fingerprint, fingerprint) {
			was = true
			continue
		}
		rest = append(rest, b)
	}
	return rest, was
}

// keptRecipients reads the keys kept with a room.
func keptRecipients(list [][]byte) (keys []pgp.Recipient, err error) {
	for _, b := range list {
		k, err := pgp.ParseRecipients(b)
		if err != nil {
			return nil, fmt.Errorf("a key kept with the room: %w", err)
		}
		keys = append(keys, k...)
	}
	return keys, nil
}

// lockPGP wraps secret to the keys of r.
func lockPGP(r *home.Room, secret [32]byte) error {
	to, err := keptRecipients(r.Recipients)
	if err != nil {
		return err
	}
	hidden, err := keptRecipients(r.Hidden)
	if err != nil {
		return err
	}
	r.Lock, err = dht.LockPGP(secret, to, hidden)
	return err
}
