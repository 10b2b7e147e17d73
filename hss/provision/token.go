package provision

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Role is what a token may do; each may do what those before it may.
type Role int

// Role values.
const (
	Read    Role = iota + 1 // look at everything but the audit log and dumps
	Operate                 // SIMs: add, import, change, activate, suspend, resume, terminate; locations: cancel
	Admin                   // SIMs: remove; templates, dump and restore, repair, key rotation, audit log
)

// String returns the role as the file of tokens has it.
func (r Role) String() string { return [...]string{"none", "read", "operate", "admin"}[r] }

// ParseRole reads a role.
func ParseRole(s string) (Role, error) {
	for _, r := range []Role{Read, Operate, Admin} {
		if r.String() == s {
			return r, nil
		}
	}
	return 0, fmt.Errorf("role %q, want read, operate or admin", s)
}

// Actor is who does something.
type Actor struct {
	Name string // of the token; or socket, with the user's name as told
	Role Role
	From string // address

	until time.Time // of a token: from then on it is of no use; zero: for ever
}

type actorKey struct{}

// actorOf returns who a request is by. Without one nothing is allowed.
func actorOf(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}

// As returns a context whose requests are by that actor.
func As(ctx context.Context, a Actor) context.Context { return context.WithValue(ctx, actorKey{}, a) }

// GenerateToken returns a token, and the line for the file of tokens, which holds its hash only. until is the last day, as
// YYYY-MM-DD, on which it is of use; "" for ever.
func GenerateToken(name string, role Role, until string) (token, line string, err error) {
	if name == "" || strings.ContainsAny(name, " \t\n#") {
		return "", "", fmt.Errorf("name %q, want one word", name)
	}
	if _, err := endOf(until); err != nil {
		return "", "", err
	}
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	token = hex.EncodeToString(b[:])
	return token, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", name, role, hash(token), until)), nil
}

// endOf is the end of a day in UTC; zero of "".
func endOf(day string) (time.Time, error) {
	if day == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return t, fmt.Errorf("day %q, want YYYY-MM-DD", day)
	}
	return t.AddDate(0, 0, 1), nil
}

// hash needs no salt and no slowness: a token is 256 random bits.
func hash(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

// ParseTokens reads lines of a name, a role, the SHA-256 of the token, 64 hexadecimal digits, and the last day on which it is of
// use, if there is one; empty lines and lines that begin with # are left out.
func ParseTokens(text string) (map[string]Actor, error) {
	all := map[string]Actor{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.Fields(line)
		if len(parts) == 3 {
			parts = append(parts, "")
		}
		if len(parts) != 4 || len(parts[2]) != 2*sha256.Size {
			return nil, fmt.Errorf("line %d of the tokens: want a name, a role, 64 hexadecimal digits, and the last day if there is one", n)
		}
		role, err := ParseRole(parts[1])
		if err != nil {
			return nil, fmt.Errorf("line %d of the tokens: %w", n, err)
		}
		until, err := endOf(parts[3])
		if err != nil {
			return nil, fmt.Errorf("line %d of the tokens: %w", n, err)
		}
		all[strings.ToLower(parts[2])] = Actor{Name: parts[0], Role: role, until: until}
	}
	return all, nil
}

// tokenFile is the file of tokens, read again when it has changed, so that a token is withdrawn at once.
type tokenFile struct {
	path string

	mu      sync.Mutex
	changed time.Time
	size    int64
	all     map[string]Actor
}

func openTokens(path string) (*tokenFile, error) {
	f := &tokenFile{path: path}
	return f, f.refresh()
}

func (f *tokenFile) refresh() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("reading provision.tokens: %w", err)
	}
	if info.ModTime().Equal(f.changed) && info.Size() == f.size {
		return nil
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("reading provision.tokens: %w", err)
	}
	all, err := ParseTokens(string(text))
	if err != nil {
		return err
	}
	f.all, f.changed, f.size = all, info.ModTime(), info.Size()
	return nil
}

// actor returns whose token it is. A file that cannot be read any more lets nobody in.
func (f *tokenFile) actor(token string, now time.Time) (Actor, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(); err != nil {
		return Actor{}, err
	}
	a, ok := f.all[hash(token)] // compared as a hash: how long it takes tells nothing of the token
	if !ok {
		return Actor{}, errors.New("unknown token")
	}
	if !a.until.IsZero() && !now.Before(a.until) {
		return Actor{}, fmt.Errorf("that of %s was of use until %s", a.Name, a.until.Format(time.RFC3339))
	}
	return a, nil
}
