package pfcp

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseNodeID(t *testing.T) {
	for text, want := range map[string]NodeID{
		"10.40.2.2":        {Addr: netip.MustParseAddr("10.40.2.2")},
		"::ffff:10.40.2.2": {Addr: netip.MustParseAddr("10.40.2.2")},
		"2001:db8::1":      {Addr: netip.MustParseAddr("2001:db8::1")},
		"PGWU1.example":    {FQDN: "pgwu1.example"},
	} {
		got, err := ParseNodeID(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "fe80::1%eth0", "a b", strings.Repeat("a", 300)} {
		_, err := ParseNodeID(text)
		require.Error(t, err, text)
	}
}
