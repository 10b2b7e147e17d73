package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// Sealed keys are: octet 1 the version, octet 2 the length of the KEK's id, the id, a nonce of 12 octets, and the
// credentials under AES-256-GCM with the IMSI as associated data, so that one SIM's keys cannot be put into another's
// record. In clear the credentials are: the algorithm (see algorithmCodes), iterations, octets of RES, octets of K, K,
// OPc or TOPc. Version 1 held K ‖ OPc of Milenage.
const (
	sealVersion = 2
	version1    = 1
	kekOctets   = 32
	maxKEKID    = 32
	nonceOctets = 12
	throwawayID = "throwaway"
)

// Keyring holds the keys that encrypt keys (KEK). The first seals; all open.
type Keyring struct {
	active string
	aeads  map[string]cipher.AEAD

	openings sync.Pool // of *opening
}

// KEKConfig says where the KEKs come from: lines of an id, a space and 64 hexadecimal digits, the active one first.
type KEKConfig struct {
	File string `yaml:"file"` // path; "" none
	Env  string `yaml:"env"`  // name of an environment variable, looked at when file is ""
}

// ErrNoKEK is the error of a configuration without any KEK.
var ErrNoKEK = errors.New("no key-encryption key: set kek.file, or the environment variable that kek.env names; \"hss kek generate\" makes one")

// LoadKeyring reads the KEKs that cfg names.
func LoadKeyring(cfg KEKConfig) (*Keyring, error) {
	text := ""
	switch {
	case cfg.File != "":
		b, err := os.ReadFile(cfg.File)
		if err != nil {
			return nil, fmt.Errorf("reading kek.file: %w", err)
		}
		text = string(b)
	case cfg.Env != "":
		text = os.Getenv(cfg.Env)
	}
	if strings.TrimSpace(text) == "" {
		return nil, ErrNoKEK
	}
	return ParseKeyring(text)
}

// ParseKeyring reads lines of an id, a space and 64 hexadecimal digits; empty lines and lines that begin with # are
// left out. The error never shows a key.
func ParseKeyring(text string) (*Keyring, error) {
	r := &Keyring{aeads: map[string]cipher.AEAD{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		id, key, _ := strings.Cut(line, " ")
		b, err := hex.DecodeString(strings.TrimSpace(key))
		if err != nil || len(b) != kekOctets || len(id) > maxKEKID {
			return nil, fmt.Errorf("line %d of the KEKs: want an id of at most %d characters, a space and %d hexadecimal digits", n, maxKEKID, 2*kekOctets)
		}
		if r.aeads[id] != nil {
			return nil, fmt.Errorf("line %d of the KEKs: id %q stands twice", n, id)
		}
		if err := r.add(id, b); err != nil {
			return nil, err
		}
	}
	if r.active == "" {
		return nil, ErrNoKEK
	}
	return r, nil
}

// throwawayKeyring has one random KEK that nobody else ever has.
func throwawayKeyring() (*Keyring, error) {
	r := &Keyring{aeads: map[string]cipher.AEAD{}}
	var key [kekOctets]byte
	_, _ = rand.Read(key[:]) // never fails, see crypto/rand
	return r, r.add(throwawayID, key[:])
}

// GenerateKEK returns a line for the KEK file.
func GenerateKEK(id string) string {
	var key [kekOctets]byte
	_, _ = rand.Read(key[:]) // never fails, see crypto/rand
	return fmt.Sprintf("%s %s", id, hex.EncodeToString(key[:]))
}

func (r *Keyring) add(id string, key []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("KEK %q: %w", id, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return fmt.Errorf("KEK %q: %w", id, err)
	}
	r.aeads[id] = aead
	if r.active == "" {
		r.active = id
	}
	return nil
}

// algorithmCodes are those of the first octet in clear; append only.
var algorithmCodes = []aka.Algorithm{aka.Milenage, aka.TUAK, aka.XOR, aka.GSMMilenage}

func (r *Keyring) seal(imsi identity.IMSI, c aka.Credentials) []byte {
	b := append([]byte{sealVersion, byte(len(r.active))}, r.active...)
	nonce := make([]byte, nonceOctets)
	_, _ = rand.Read(nonce) // never fails, see crypto/rand
	b = append(b, nonce...)
	k := c.K.Octets()
	code := max(0, slices.Index(algorithmCodes, c.Algorithm)) // an empty one is Milenage
	plain := append([]byte{byte(code), c.Iterations, c.RESOctets, byte(len(k))}, k...)
	plain = append(plain, c.OPc.Octets()...)
	return r.aeads[r.active].Seal(b, nonce, plain, []byte(imsi))
}

// opening is the room in which open works. The keys in clear do not stay there.
type opening struct{ sealed, imsi, plain []byte }

func (r *Keyring) open(imsi identity.IMSI, sealed string) (aka.Credentials, error) {
	if len(sealed) < 2 || (sealed[0] != sealVersion && sealed[0] != version1) || len(sealed) < 2+int(sealed[1])+nonceOctets {
		return aka.Credentials{}, errors.New("the sealed keys are of an unknown form")
	}
	id := sealed[2 : 2+sealed[1]]
	aead := r.aeads[id]
	if aead == nil {
		return aka.Credentials{}, fmt.Errorf("the keys are sealed with KEK %q, which is not among ours", id)
	}
	o, ok := r.openings.Get().(*opening)
	if !ok {
		o = new(opening)
	}
	defer func() {
		clear(o.plain[:cap(o.plain)])
		r.openings.Put(o)
	}()
	o.sealed, o.imsi, o.plain = append(o.sealed[:0], sealed[2+len(id):]...), append(o.imsi[:0], imsi...), o.plain[:0]
	if sealed[0] == version1 {
		o.plain = append(o.plain, 0, 0, 0, 16)
	}
	plain, err := aead.Open(o.plain, o.sealed[:nonceOctets], o.sealed[nonceOctets:], o.imsi)
	if err != nil {
		return aka.Credentials{}, fmt.Errorf("the keys do not open with KEK %q: another key under the same id, or a changed record", id)
	}
	o.plain = plain
	return parseCredentials(plain)
}

// parseCredentials reads credentials in clear.
func parseCredentials(b []byte) (aka.Credentials, error) {
	if len(b) < 4 || int(b[0]) >= len(algorithmCodes) || len(b) < 4+int(b[3]) {
		return aka.Credentials{}, errors.New("the sealed keys are of an unknown form inside")
	}
	c := aka.Credentials{Algorithm: algorithmCodes[b[0]], Iterations: b[1], RESOctets: b[2]}
	k, opc := b[4:4+b[3]], b[4+b[3]:]
	for _, part := range []struct {
		octets []byte
		to     *aka.Key
	}{{k, &c.K}, {opc, &c.OPc}} {
		switch len(part.octets) {
		case 0: // XOR has no OPc
		case 16, 32:
			*part.to = aka.KeyOf(part.octets)
		default:
			return aka.Credentials{}, fmt.Errorf("a sealed key of %d octets", len(part.octets))
		}
	}
	return c, nil
}

// kekOf returns the id of the key-encryption key that sealed keys name; "" when they are of an unknown form.
func kekOf(sealed string) string {
	if len(sealed) < 2 || (sealed[0] != sealVersion && sealed[0] != version1) || len(sealed) < 2+int(sealed[1]) {
		return ""
	}
	return sealed[2 : 2+int(sealed[1])]
}
