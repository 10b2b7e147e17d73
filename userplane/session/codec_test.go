package session

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

// fill sets every field of a value to something that is not zero, so that a field which the codec forgets shows.
func fill(v reflect.Value, r *rand.Rand) {
	if v.Type() == reflect.TypeFor[netip.Addr]() {
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})))
		return
	}
	if v.Type() == reflect.TypeFor[netip.Prefix]() {
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(r.Uint32()), 1, 0}), 24)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), r)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), r)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("internet")
	case reflect.Int64:
		v.SetInt(r.Int64() | 1)
	default:
		v.SetUint(r.Uint64()>>(64-min(v.Type().Bits(), 63)) | 1)
	}
}

func filled(seed uint64) Session {
	var s Session
	fill(reflect.ValueOf(&s).Elem(), rand.New(rand.NewPCG(seed, 0)))
	for i := range s.Unconfirmed { // never set here
		s.Unconfirmed[i].UEIPAddress, s.Unconfirmed[i].NetworkInstance = pfcp.Opt[pfcp.UEIPAddress]{}, pfcp.Opt[pfcp.NetworkInstance]{}
	}
	return s
}

func TestARecordKeepsEveryField(t *testing.T) {
	for seed := range uint64(50) {
		s := filled(seed)
		b, err := s.AppendBinary(nil)
		require.NoError(t, err)
		var got Session
		require.NoError(t, got.UnmarshalBinary(b))
		require.Empty(t, cmp.Diff(s, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
			cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })))
		for n := range b {
			require.Error(t, got.UnmarshalBinary(b[:n]), "cut to %d octets", n)
			require.Equal(t, Session{}, got)
		}
		require.Error(t, got.UnmarshalBinary(append(b, 0)))
	}
	var empty, got Session
	b, err := empty.AppendBinary(nil)
	require.NoError(t, err)
	require.NoError(t, got.UnmarshalBinary(b))
	require.Equal(t, empty, got)
	require.Error(t, got.UnmarshalBinary([]byte{CodecVersion + 1}))
}

func FuzzSessionRecord(f *testing.F) {
	for seed := range uint64(3) {
		b, err := filled(seed).AppendBinary(nil)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again Session
		if s.UnmarshalBinary(b) != nil {
			return
		}
		b2, err := s.AppendBinary(nil)
		require.NoError(t, err)
		require.NoError(t, again.UnmarshalBinary(b2))
		require.True(t, reflect.DeepEqual(s, again))
	})
}

func BenchmarkEstablishCompileRecord(b *testing.B) {
	req := bearer()
	b.ReportAllocs()
	var record []byte
	for b.Loop() {
		s, _, err := Establish(req, 9, slice, DefaultLimits(), &counter{}, morning)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Compile(internet); err != nil {
			b.Fatal(err)
		}
		record, _ = s.AppendBinary(record[:0])
	}
	b.ReportMetric(float64(len(record)), "B/record")
}
