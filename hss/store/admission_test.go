package store

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/subscriber"
)

// What authentication reads of a record is what it would find in the whole profile.
func TestAdmissionIsThatOfTheWholeProfile(t *testing.T) {
	s := open(t, "")
	ctx := context.Background()
	require.NoError(t, s.PutTemplate(ctx, "meter", subscriber.Profile{
		Status: subscriber.Suspended, PLMNs: []string{"001-01"}, AMF: "b9b9", APNs: []subscriber.APN{{Name: "meters"}},
	}))
	require.NoError(t, s.PutTemplate(ctx, "empty", subscriber.Profile{}))
	strange := full()
	strange.Card.Batch, strange.AMF = `"},{[\`+"\n<é", `"]}\`
	for _, p := range []subscriber.Profile{
		{},
		full(), profile, strange,
		{Template: "meter"},
		{Template: "empty"},
		{Template: "meter", Status: subscriber.Active, PLMNs: []string{"262-02", "310-410"}, AMF: "8000"},
		{Status: subscriber.Terminated},
		{Status: subscriber.Provisioned, Template: "empty", APNs: []subscriber.APN{{Name: "internet"}}},
	} {
		b, err := encodeProfile(p)
		require.NoError(t, err)
		templates, err := s.Templates(ctx)
		require.NoError(t, err)
		whole, err := templates.Resolve(p)
		require.NoError(t, err)
		got, err := s.admission(ctx, string(b))
		require.NoError(t, err)
		require.Equal(t, whole.Admission(), got, "%s", b)
	}
	for _, bad := range []string{
		`{`, `}`, `[]`, `{"s":"q"}`, `{"s":1}`, `{"s" :"a"}`, `{"s"}`, `{"s":}`, `{"s":"a",}`, `{"s":"a""p":""}`, `{"a":[}`, `{"p":"a}`, `{"y":"gone"}`, `{x}`, `{,}`, `{"a":]}`,
	} {
		_, err := s.admission(ctx, bad)
		require.Error(t, err, bad)
	}
}

func FuzzDecodeAdmission(f *testing.F) {
	for _, p := range []subscriber.Profile{full(), profile} {
		b, err := encodeProfile(p)
		require.NoError(f, err)
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := decodeProfile(text)
		if err != nil {
			_, _, _ = decodeAdmission(text) // it leaves unread what is not asked for, but must come back
			return
		}
		b, err := encodeProfile(p)
		require.NoError(t, err)
		got, template, err := decodeAdmission(string(b))
		require.NoError(t, err)
		require.Equal(t, p.Template, template)
		require.Equal(t, p.Admission(), got)
	})
}

func BenchmarkDecodeAdmission(b *testing.B) {
	text, err := encodeProfile(full())
	require.NoError(b, err)
	for b.Loop() {
		_, _, _ = decodeAdmission(string(text))
	}
}

func BenchmarkDecodeProfile(b *testing.B) {
	text, err := encodeProfile(full())
	require.NoError(b, err)
	for b.Loop() {
		_, _ = decodeProfile(string(text))
	}
}
