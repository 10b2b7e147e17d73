package provision

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
)

// Verbatim is text that YAML would take for a number, octal when it begins with 0, were it not for UnmarshalYAML.
type Verbatim string

// UnmarshalYAML takes a scalar as it is written.
func (v *Verbatim) UnmarshalYAML(b []byte) error {
	*v = Verbatim(strings.Trim(strings.TrimSpace(string(b)), `"'`))
	return nil
}

// NewSIM is a SIM to be added. Keys go in and never come out.
type NewSIM struct {
	IMSI         Verbatim      `json:"imsi"                    yaml:"imsi"          doc:"6 to 15 digits"`
	Algorithm    aka.Algorithm `json:"algorithm,omitempty"     yaml:"algorithm"     enum:"milenage,tuak,xor" doc:"milenage if left out"`
	K            Verbatim      `json:"k"                       yaml:"k"             writeOnly:"true" doc:"hexadecimal; 16 octets, with TUAK 16 or 32"`
	OPc          Verbatim      `json:"opc,omitempty"           yaml:"opc"           writeOnly:"true" doc:"the card's OPc, with TUAK its TOPc"`
	OP           Verbatim      `json:"op,omitempty"            yaml:"op"            writeOnly:"true" doc:"the operator's OP, with TUAK TOP: OPc is computed, and OP is not kept"`
	Iterations   uint8         `json:"iterations,omitempty"    yaml:"iterations"    doc:"of Keccak in TUAK; 1 if left out"`
	RESOctets    uint8         `json:"res_octets,omitempty"    yaml:"res_octets"    doc:"of RES in TUAK: 4, 8 or 16; 8 if left out"`
	TransportKey string        `json:"transport_key,omitempty" yaml:"transport_key" doc:"id of the transport key that k, opc and op are encrypted with; left out: they are in clear"`
	SEQ          uint64        `json:"seq,omitempty"           yaml:"seq"           doc:"the last that the card may have seen elsewhere"`

	subscriber.Profile `yaml:",inline"`
}

// credentials reads the keys; the error does not show them.
func (s NewSIM) credentials(transport transportKeys) (aka.Credentials, error) {
	c := aka.Credentials{Algorithm: s.Algorithm, Iterations: s.Iterations, RESOctets: s.RESOctets}
	if c.Algorithm == "" {
		c.Algorithm = aka.Milenage
	}
	read := func(name string, text Verbatim) (aka.Key, error) {
		plain, err := transport.decrypt(s.TransportKey, string(text))
		if err != nil {
			return aka.Key{}, fmt.Errorf("%s: %w", name, err)
		}
		k, err := aka.ParseKey(plain)
		if err != nil {
			return k, fmt.Errorf("%s: %w", name, err)
		}
		return k, nil
	}
	var err error
	if c.K, err = read("k", s.K); err != nil {
		return c, err
	}
	switch {
	case c.Algorithm == aka.XOR:
		if s.OPc != "" || s.OP != "" {
			return c, errors.New("opc, op: XOR has none")
		}
	case (s.OPc == "") == (s.OP == ""):
		return c, errors.New("want one of opc and op")
	case s.OPc != "":
		c.OPc, err = read("opc", s.OPc)
	default:
		var op aka.Key
		if op, err = read("op", s.OP); err != nil {
			return c, err
		}
		if c.Algorithm == aka.TUAK {
			c.OPc, err = aka.TOPc(c.K, op, s.Iterations)
		} else {
			c.OPc, err = aka.OPc(c.K, op)
		}
	}
	if err != nil {
		return c, err
	}
	return c, c.Validate()
}

// transportKeys are the keys under which card makers hand K over, by id.
type transportKeys map[string]transportKey

type transportKey struct {
	block cipher.Block
	cbc   bool // with an IV of zeros; else each block by itself
}

func loadTransportKeys(path string) (transportKeys, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading provision.transport_keys: %w", err)
	}
	return ParseTransportKeys(string(b))
}

// ParseTransportKeys reads lines of an id, a cipher (aes-ecb, aes-cbc, 3des-ecb, 3des-cbc; CBC has an IV of zeros) and the
// key in hexadecimal; empty lines and lines that begin with # are left out. The error never shows a key.
func ParseTransportKeys(text string) (transportKeys, error) {
	all := transportKeys{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.Fields(line)
		if len(parts) != 3 {
			return nil, fmt.Errorf("line %d of the transport keys: want an id, a cipher and a key", n)
		}
		key, err := hex.DecodeString(parts[2])
		if err != nil {
			return nil, fmt.Errorf("line %d of the transport keys: the key is not hexadecimal", n)
		}
		name, mode, _ := strings.Cut(parts[1], "-")
		t := transportKey{cbc: mode == "cbc"}
		switch {
		case mode != "cbc" && mode != "ecb" || name != "aes" && name != "3des":
			return nil, fmt.Errorf("line %d of the transport keys: cipher %q, want aes-ecb, aes-cbc, 3des-ecb or 3des-cbc", n, parts[1])
		case name == "aes":
			t.block, err = aes.NewCipher(key)
		default:
			if len(key) == 16 { // two keys: the third is the first
				key = append(key, key[:8]...)
			}
			t.block, err = des.NewTripleDESCipher(key)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d of the transport keys: a key of %d octets", n, len(key))
		}
		all[parts[0]] = t
	}
	return all, nil
}

// decrypt returns a key in hexadecimal in clear; id "" says that it is.
func (t transportKeys) decrypt(id, text string) (string, error) {
	if id == "" {
		return text, nil
	}
	key, ok := t[id]
	if !ok {
		return "", fmt.Errorf("there is no transport key %q", id)
	}
	b, err := hex.DecodeString(text)
	size := 0
	if ok {
		size = key.block.BlockSize()
	}
	if err != nil || len(b) == 0 || len(b)%size != 0 {
		return "", fmt.Errorf("not hexadecimal of whole blocks of %d octets", size)
	}
	plain := make([]byte, len(b))
	if key.cbc {
		cipher.NewCBCDecrypter(key.block, make([]byte, size)).CryptBlocks(plain, b)
		return hex.EncodeToString(plain), nil
	}
	for i := 0; i < len(b); i += size {
		key.block.Decrypt(plain[i:], b[i:])
	}
	return hex.EncodeToString(plain), nil
}
