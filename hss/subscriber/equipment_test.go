package subscriber

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecide(t *testing.T) {
	entries := []Equipment{
		{"35", White},
		{"35609204", Grey},
		{"35609204079300", Black},
		{"990", Black},
		{"35609205-35609209", Black},
		{"35609207", White},
		{"35609206-35609208", Grey},
		{"35609204000000-35609204000009", White},
		{"7-8", Grey},
		{"8", White},
		{"8", Black},
	}
	for _, e := range entries {
		require.NoError(t, e.Validate(), e.Range)
	}
	for device, want := range map[string]Equipment{
		"35000000000000": {"35", White},
		"35609204999999": {"35609204", Grey},
		"35609204079300": {"35609204079300", Black},
		"99000085000000": {"990", Black},
		"35609205000000": {"35609205-35609209", Black},
		"35609206000000": {"35609205-35609209", Black}, // of two ranges the stricter
		"35609207000000": {"35609207", White},          // one beginning above ranges of as many digits
		"35609204000005": {"35609204000000-35609204000009", White},
		"70000000000000": {"7-8", Grey},
		"80000000000000": {"8", Black},
	} {
		got, ok := Decide(entries, device)
		require.True(t, ok, device)
		require.Equal(t, want, got, device)
	}
	_, ok := Decide(entries, "10000000000000")
	require.False(t, ok)
	require.Equal(t, []string{"1", "12", "123"}, Beginnings("123"))
	require.Len(t, Beginnings("356092040793001"), imeiDigits)
	for _, bad := range []Equipment{{"", White}, {"1x", White}, {"123456789012345", White}, {"12-1", White}, {"2-1", White}, {"1-", White}, {"1", "red"}} {
		require.Error(t, bad.Validate(), "%v", bad)
	}
}
