// Package docs_test holds the rules that a linter cannot: what the pages of docs/ say is true of the code, and the code
// keeps the house rules of CONTRIBUTING.md.
package docs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root     = ".."
	maxLines = 800 // of a source file; 500 is where to look for the seam
)

// sources calls f with every file of the repository that has one of the suffixes, but for generated ones.
func sources(t *testing.T, suffixes []string, f func(path string, content []byte)) {
	t.Helper()
	seen := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && strings.HasPrefix(name, ".") || name == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, "_bpfel.go") || !hasSuffix(name, suffixes) {
			return nil
		}
		b, err := os.ReadFile(path)
		seen++
		f(path, b)
		return err
	}))
	require.NotZero(t, seen, "no file ends in %v: the test looks in the wrong place", suffixes)
}

func hasSuffix(name string, suffixes []string) bool {
	for _, s := range suffixes {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

func TestNoSourceFileIsLongerThanItsEnd(t *testing.T) {
	sources(t, []string{".go", ".c", ".h"}, func(path string, b []byte) {
		if n := bytes.Count(b, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, at most %d: look for the seam", path, n, maxLines)
		}
	})
}

var skip = regexp.MustCompile(`\b[tbf]b?\.Skip(f|Now)?\(`)

func TestNoTestIsSkipped(t *testing.T) {
	sources(t, []string{"_test.go"}, func(path string, b []byte) {
		for i, line := range strings.Split(string(b), "\n") {
			if skip.MatchString(line) {
				t.Errorf("%s:%d skips; what a test needs, `make test` installs", path, i+1)
			}
		}
	})
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

func TestLinksBetweenPagesLeadSomewhere(t *testing.T) {
	sources(t, []string{".md"}, func(path string, b []byte) {
		for _, m := range link.FindAllSubmatch(b, -1) {
			target := filepath.Join(filepath.Dir(path), string(m[1]))
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", path, m[1])
			}
		}
	})
}

var page = regexp.MustCompile("`(docs/[a-zA-Z0-9_./-]+\\.md)`")

func TestEveryPageThatThePagesNameExists(t *testing.T) {
	sources(t, []string{".md", ".go", "Makefile"}, func(path string, b []byte) {
		for _, m := range page.FindAllSubmatch(b, -1) {
			if _, err := os.Stat(filepath.Join(root, string(m[1]))); err != nil {
				t.Errorf("%s names %s, which is no page of the repository", path, m[1])
			}
		}
	})
}

var (
	testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
)

func TestEveryTestThatThePagesNameExists(t *testing.T) {
	exists := map[string]bool{}
	sources(t, []string{"_test.go"}, func(_ string, b []byte) {
		for _, m := range testFunc.FindAllSubmatch(b, -1) {
			exists[string(m[1])] = true
		}
	})
	sources(t, []string{".md"}, func(path string, b []byte) {
		for _, m := range testName.FindAllSubmatch(b, -1) {
			if !exists[string(m[1])] {
				t.Errorf("%s names %s, which is no test", path, m[1])
			}
		}
	})
}
