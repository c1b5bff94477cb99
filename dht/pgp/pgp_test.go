package pgp

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/watergy/waterfall/internal/need"
)

// gnupg is a gpg with a home of its own, and its agent.
type gnupg struct {
	t    *testing.T
	home string
}

func newGnuPG(t *testing.T) *gnupg {
	program := need.Program(t, "gpg")
	// The agent's socket must have a short path.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	g := &gnupg{t, home}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	_ = program
	return g
}

func (g *gnupg) run(args ...string) []byte {
	g.t.Helper()
	cmd := exec.Command("gpg", append([]string{"--batch", "--quiet", "--homedir", g.home, "--pinentry-mode", "loopback"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		g.t.Fatalf("gpg %q: %v\n%s", args, err, stderr.String())
	}
	return out
}

// newKey makes a key pair with an encryption subkey of its kind.
func (g *gnupg) newKey(name, passphrase, primary, sub string) {
	g.t.Helper()
	g.generate(name, passphrase, primary, sub, "0")
}

// oldKey makes one that expired in 2021, with its subkey.
func (g *gnupg) oldKey(name string) {
	g.t.Helper()
	g.generate(name, "", ed25519, cv25519, "1y", "--faked-system-time", "20200101T000000")
}

func (g *gnupg) generate(name, passphrase, primary, sub, expire string, args ...string) {
	g.t.Helper()
	script := filepath.Join(g.home, name)
	text := "Key-Type: " + primary + "\nSubkey-Type: " + sub + "\nSubkey-Usage: encrypt\nName-Real: " + name + "\nExpire-Date: " + expire + "\n"
	if passphrase == "" {
		text += "%no-protection\n"
	} else {
		text += "Passphrase: " + passphrase + "\n"
	}
	if err := os.WriteFile(script, []byte(text+"%commit\n"), 0o600); err != nil {
		g.t.Fatal(err)
	}
	g.run(append(args, "--gen-key", script)...)
}

const (
	rsa     = "RSA\nKey-Length: 2048"
	rsaSub  = "RSA\nSubkey-Length: 2048"
	ed25519 = "EDDSA\nKey-Curve: ed25519"
	cv25519 = "ECDH\nSubkey-Curve: cv25519"
)

func recipients(t *testing.T, b []byte) []Recipient {
	t.Helper()
	r, err := ParseRecipients(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Keys made and exported by gpg, of each kind, in both forms, several in a file: what is
// wrapped to them opens by gpg with its agent and by the exported key file.
func TestGnuPG(t *testing.T) {
	g := newGnuPG(t)
	g.newKey("ann", "", ed25519, cv25519)
	g.newKey("bob", "", rsa, rsaSub)
	g.newKey("cleo", "secret phrase", ed25519, cv25519)
	to := recipients(t, g.run("--export", "ann", "bob"))
	to = append(to, recipients(t, g.run("--armor", "--export", "cleo"))...)
	if len(to) != 3 || to[0].Name != "ann" {
		t.Fatalf("%d recipients, the first is %q", len(to), to[0].Name)
	}
	secret := []byte("0123456789abcdef0123456789abcdef")
	data, keys, err := Wrap(secret, to)
	if err != nil {
		t.Fatal(err)
	}
	agent := &GPG{Home: g.home}
	prints, err := agent.Fingerprints(t.Context())
	if err != nil || len(prints) != 3 {
		t.Fatalf("gpg has %d keys, %v", len(prints), err)
	}
	for i, name := range []string{"ann", "bob"} {
		if got, err := agent.Unwrap(t.Context(), to[i].Fingerprint, keys[i:i+1], data); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("gpg does not unwrap for %s: %v", name, err)
		}
		if got, err := agent.Unwrap(t.Context(), nil, keys[i:i+1], data); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("gpg does not unwrap for %s, hidden: %v", name, err)
		}
	}
	for i, name := range []string{"ann", "bob", "cleo"} {
		for _, armor := range [][]string{{"--armor"}, nil} {
			file := g.run(append(armor, "--passphrase", "secret phrase", "--export-secret-keys", name)...)
			f, err := ReadKeyFile(file, func() ([]byte, error) { return []byte("secret phrase"), nil })
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.Unwrap(t.Context(), to[i].Fingerprint, keys[i:i+1], data); err != nil || !bytes.Equal(got, secret) {
				t.Errorf("the key file of %s does not unwrap: %v", name, err)
			}
			if got, err := f.Unwrap(t.Context(), nil, keys, data); err != nil || !bytes.Equal(got, secret) {
				t.Errorf("the key file of %s does not unwrap, hidden among others: %v", name, err)
			}
			if _, err := f.Unwrap(t.Context(), nil, keys[(i+1)%3:(i+1)%3+1], data); !errors.Is(err, ErrNotOurs) {
				t.Errorf("the key file of %s unwraps another's: %v", name, err)
			}
		}
	}
	locked := g.run("--passphrase", "secret phrase", "--export-secret-keys", "cleo")
	if _, err := ReadKeyFile(locked, func() ([]byte, error) { return []byte("wrong"), nil }); !errors.Is(err, ErrNotOurs) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	if _, err := ReadKeyFile(g.run("--export", "ann"), nil); err == nil {
		t.Error("a public key is taken for a private one")
	}
	other := &GPG{Home: newGnuPG(t).home}
	if _, err := other.Unwrap(t.Context(), nil, keys, data); !errors.Is(err, ErrNotOurs) {
		t.Errorf("a gpg without keys: %v", err)
	}
}

// Other kinds of keys that gpg makes, and what becomes of keys in the course of years: several
// subkeys to encrypt to, some of them expired.
func TestGnuPGKinds(t *testing.T) {
	g := newGnuPG(t)
	curve := func(name string) func(string) {
		return func(who string) {
			g.newKey(who, "", "ECDSA\nKey-Curve: "+name, "ECDH\nSubkey-Curve: "+name)
		}
	}
	add := func(who string, algos ...string) {
		for _, a := range algos {
			g.run("--passphrase", "", "--quick-add-key", g.print(who), a, "encr", "never")
		}
	}
	agent := &GPG{Home: g.home}
	secret := []byte("0123456789abcdef0123456789abcdef")
	for _, k := range []struct {
		name string
		make func(who string)
		ok   bool
	}{
		{"nistp256", curve("nistp256"), true},
		{"nistp521", curve("nistp521"), true},
		{"brainpool", curve("brainpoolP256r1"), true},
		{"rsa1024", func(who string) { g.newKey(who, "", ed25519, "RSA\nSubkey-Length: 1024") }, false},
		{"elgamal", func(who string) { g.newKey(who, "", ed25519, "ELG-E\nSubkey-Length: 1024") }, false},
		{"signs", func(who string) { g.run("--passphrase", "", "--quick-gen-key", who, "ed25519", "sign", "never") }, false},
		{"several", func(who string) { g.newKey(who, "", ed25519, cv25519); add(who, "nistp256", "rsa2048") }, true},
		{"expired", func(who string) { g.oldKey(who) }, false},
		{"renewed", func(who string) {
			g.oldKey(who)
			g.run("--quick-set-expire", g.print(who), "0")
			add(who, "cv25519")
		}, true},
	} {
		t.Run(k.name, func(t *testing.T) {
			g.t = t
			k.make(k.name)
			to, err := ParseRecipients(g.run("--export", k.name))
			if !k.ok {
				if err == nil {
					t.Error("it is taken")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			data, keys, err := Wrap(secret, to)
			if err != nil {
				t.Fatal(err)
			}
			agent.keys = nil // there are more now
			own, err := ReadKeyFile(g.run("--passphrase", "", "--export-secret-keys", k.name), nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, o := range map[string]Owner{"gpg": agent, "the key file": own} {
				if got, err := o.Unwrap(t.Context(), to[0].Fingerprint, keys, data); err != nil || !bytes.Equal(got, secret) {
					t.Errorf("%s does not unwrap: %v", name, err)
				}
				if got, err := o.Unwrap(t.Context(), nil, keys, data); err != nil || !bytes.Equal(got, secret) {
					t.Errorf("%s does not unwrap, hidden: %v", name, err)
				}
			}
			// The other way: what gpg encrypts to this key opens by its file.
			plain := filepath.Join(g.home, k.name+".txt")
			if err := os.WriteFile(plain, secret, 0o600); err != nil {
				t.Fatal(err)
			}
			msg := g.run("--trust-model", "always", "--compress-algo", "none", "--recipient", k.name, "--output", "-", "--encrypt", plain)
			if got, err := own.Unwrap(t.Context(), nil, nil, msg); err != nil || !bytes.Equal(got, secret) {
				t.Errorf("what gpg has encrypted does not open: %v", err)
			}
		})
	}
}

// print is the fingerprint of a key.
func (g *gnupg) print(name string) string {
	g.t.Helper()
	for l := range strings.Lines(string(g.run("--with-colons", "--list-keys", name))) {
		if f := strings.Split(l, ":"); f[0] == "fpr" {
			return f[9]
		}
	}
	g.t.Fatalf("gpg has no key %q", name)
	return ""
}

// generated is a key without gpg.
func generated(t testing.TB, name string) *openpgp.Entity {
	e, err := openpgp.NewEntity(name, "", "", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestMarshal(t *testing.T) {
	var b bytes.Buffer
	if err := generated(t, "ann").Serialize(&b); err != nil {
		t.Fatal(err)
	}
	r := recipients(t, b.Bytes())[0]
	m, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if again := recipients(t, m)[0]; !bytes.Equal(again.Fingerprint, r.Fingerprint) || again.Name != "ann" {
		t.Errorf("read back as %X of %q", again.Fingerprint, again.Name)
	}
}

func FuzzParseRecipients(f *testing.F) {
	var b bytes.Buffer
	if err := generated(f, "ann").Serialize(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDM=\n-----END PGP PUBLIC KEY BLOCK-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseRecipients(b)
		if err == nil && len(list) == 0 {
			t.Error("neither a key nor an error")
		}
	})
}

// FuzzKeyFile: a file has keys that fit a passphrase, or is an error.
func FuzzKeyFile(f *testing.F) {
	var b bytes.Buffer
	e := generated(f, "ann")
	if err := e.SerializePrivate(&b, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	b.Reset()
	if err := e.Serialize(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlFg=\n-----END PGP PRIVATE KEY BLOCK-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		own, err := ReadKeyFile(b, func() ([]byte, error) { return nil, ErrNotOurs })
		if err != nil {
			return
		}
		if prints, err := own.Fingerprints(t.Context()); err != nil || len(prints) == 0 {
			t.Errorf("a key file of %d keys, %v", len(prints), err)
		}
	})
}

// FuzzUnwrap: a hostile record's packets are an error, whatever they are.
func FuzzUnwrap(f *testing.F) {
	e := generated(f, "ann")
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		f.Fatal(err)
	}
	to, err := ParseRecipients(b.Bytes())
	if err != nil {
		f.Fatal(err)
	}
	data, keys, err := Wrap([]byte("secret"), to)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(keys[0], data)
	f.Add([]byte{}, []byte("\xcb\x07b\x00\x00\x00\x00\x00x"))
	own := &KeyFile{keys: openpgp.EntityList{e}}
	f.Fuzz(func(t *testing.T, key, data []byte) {
		_, _ = own.Unwrap(t.Context(), nil, [][]byte{key}, data)
		address(key, 1)
	})
}

func FuzzColons(f *testing.F) {
	f.Add("sec:u:255:22:AAAABBBBCCCCDDDD:1:::u:::scESC:::+::ed25519:::0:\nfpr:::::::::0123456789ABCDEF0123456789ABCDEF01234567:\nssb:u:255:18:1111222233334444:1::::::e:::+::cv25519::\n")
	f.Fuzz(func(t *testing.T, s string) { parseColons(s) })
}
