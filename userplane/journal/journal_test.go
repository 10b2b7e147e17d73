package journal

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func options(dir string) Options {
	return Options{Dir: dir, Version: 1, BootID: "9d5a1f3e-0000-4000-8000-000000000001", SegmentBytes: 512}
}

func open(t require.TestingT, opts Options) (*Journal, Found, map[Key]string) {
	got := map[Key]string{}
	j, found, err := Open(opts, func(k Key, v []byte) error {
		got[k] = string(v)
		return nil
	})
	require.NoError(t, err)
	return j, found, got
}

// crash forgets the journal as a killed process does: the lock goes, nothing is written.
func crash(t require.TestingT, j *Journal) { require.NoError(t, j.Close()) }

func put(t require.TestingT, j *Journal, kind uint8, id uint64, value string) {
	var b Batch
	b.Put(Key{kind, id}, []byte(value))
	require.NoError(t, j.Write(&b))
}

func TestWhatWasWrittenIsThereAfterACrash(t *testing.T) {
	opts := options(t.TempDir())
	j, found, got := open(t, opts)
	require.Equal(t, Found{Fresh: "no journal"}, found)
	require.Empty(t, got)
	put(t, j, 1, 7, "first")
	put(t, j, 1, 7, "second")
	put(t, j, 2, 1<<63, "")
	var b Batch
	b.Put(Key{1, 8}, []byte("x"))
	b.Delete(Key{1, 8})
	b.Delete(Key{9, 9})
	require.NoError(t, j.Write(&b))

	_, _, err := Open(opts, nil)
	require.ErrorIs(t, err, ErrLocked)
	crash(t, j)

	j, found, got = open(t, opts)
	defer crash(t, j)
	require.Equal(t, Found{Live: 2}, found)
	require.Equal(t, map[Key]string{{1, 7}: "second", {2, 1 << 63}: ""}, got)
}

func TestAnotherBootOrVersionBeginsAfresh(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"another boot":    func(o *Options) { o.BootID = "9d5a1f3e-0000-4000-8000-000000000002" },
		"another version": func(o *Options) { o.Version++ },
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(t.TempDir())
			j, _, _ := open(t, opts)
			put(t, j, 1, 1, "old")
			crash(t, j)
			changed := opts
			change(&changed)
			found, err := Read(changed, func(Key, []byte) error { t.Fatal("handed over"); return nil })
			require.NoError(t, err)
			require.Equal(t, name, found.Fresh)
			j, found, got := open(t, changed)
			require.Equal(t, Found{Fresh: name}, found)
			require.Empty(t, got)
			put(t, j, 1, 2, "new")
			crash(t, j)
			j, found, got = open(t, changed)
			require.Equal(t, Found{Live: 1}, found)
			require.Equal(t, map[Key]string{{1, 2}: "new"}, got)
			crash(t, j)
		})
	}
}

// A kill in the middle of a write leaves any prefix of the last frame.
func TestATornTailLosesOnlyTheBatchThatWasNotFinished(t *testing.T) {
	dir := t.TempDir()
	opts := options(dir)
	j, _, _ := open(t, opts)
	put(t, j, 1, 1, "kept")
	whole := j.segments[0].size
	put(t, j, 1, 1, "cut off")
	crash(t, j)
	path := j.segments[0].path
	full, err := os.ReadFile(path)
	require.NoError(t, err)

	for cut := int(whole); cut < len(full); cut++ {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(path)), full[:cut], 0o600))
		j, found, got := open(t, options(dir))
		require.Equal(t, Found{Torn: cut - int(whole), Live: 1}, found)
		require.Equal(t, map[Key]string{{1, 1}: "kept"}, got)
		put(t, j, 1, 2, "after") // goes to a new segment, so that the torn tail does not hide it
		crash(t, j)
		j, _, got = open(t, options(dir))
		require.Equal(t, map[Key]string{{1, 1}: "kept", {1, 2}: "after"}, got)
		crash(t, j)
	}
	for flip := int(whole); flip < len(full); flip++ {
		dir := t.TempDir()
		b := slices.Clone(full)
		b[flip] ^= 0x20
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(path)), b, 0o600))
		j, _, got := open(t, options(dir))
		require.Equal(t, map[Key]string{{1, 1}: "kept"}, got, "octet %d flipped", flip)
		crash(t, j)
	}
}

func TestASegmentCutShortWhenItWasBegunIsPassedOver(t *testing.T) {
	opts := options(t.TempDir())
	j, _, _ := open(t, opts)
	put(t, j, 1, 1, "kept")
	crash(t, j)
	require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, fmt.Sprintf("%016x%s", 2, suffix)), []byte("xepc"), 0o600))
	j, found, got := open(t, opts)
	defer crash(t, j)
	require.Equal(t, Found{Torn: 4, Live: 1}, found)
	require.Equal(t, map[Key]string{{1, 1}: "kept"}, got)
}

func TestTheJournalStaysWithinTwiceWhatIsLive(t *testing.T) {
	opts := options(t.TempDir())
	j, _, _ := open(t, opts)
	for i := range 20000 {
		put(t, j, 1, uint64(i%10), fmt.Sprintf("value %d", i))
		size := j.Size()
		require.LessOrEqual(t, size.Octets, 2*size.Live+3*int64(opts.SegmentBytes))
	}
	files, err := filepath.Glob(filepath.Join(opts.Dir, "*"+suffix))
	require.NoError(t, err)
	require.Less(t, len(files), 8)
	crash(t, j)
	j, _, got := open(t, opts)
	require.Len(t, got, 10)
	require.Equal(t, "value 19999", got[Key{1, 9}])
	crash(t, j)
}

func TestAFailedWriteIsRefusedAndHidesNothing(t *testing.T) {
	opts := options(t.TempDir())
	j, _, _ := open(t, opts)
	put(t, j, 1, 1, "kept")
	require.NoError(t, j.segments[0].file.Close())
	readOnly, err := os.Open(j.segments[0].path)
	require.NoError(t, err)
	j.segments[0].file = readOnly
	var b Batch
	b.Put(Key{1, 2}, []byte("refused"))
	require.Error(t, j.Write(&b))
	put(t, j, 1, 3, "later")
	crash(t, j)
	j, _, got := open(t, opts)
	require.Equal(t, map[Key]string{{1, 1}: "kept", {1, 3}: "later"}, got)
	crash(t, j)
	require.ErrorIs(t, j.Write(&b), errClosed)
}

// Whatever is put, deleted and crashed: what Open hands over is what a map would hold.
func TestTheJournalIsAMap(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		opts := options(filepath.Join(base, fmt.Sprint(runs)))
		opts.SegmentBytes = 128
		j, _, _ := open(t, opts)
		defer func() { crash(t, j) }()
		model := map[Key]string{}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				var b Batch
				for range rapid.IntRange(1, 4).Draw(t, "operations") {
					key := Key{rapid.SampledFrom([]uint8{0, 1, 2, 3, 4, 254, 255}).Draw(t, "kind"), rapid.Uint64Range(0, 2).Draw(t, "id")}
					if rapid.Bool().Draw(t, "delete") {
						b.Delete(key)
						delete(model, key)
						continue
					}
					value := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "value")
					b.Put(key, value)
					model[key] = string(value)
				}
				require.NoError(t, j.Write(&b))
				require.ElementsMatch(t, slices.AppendSeq([]Key{}, maps.Keys(model)), j.Keys())
				require.Len(t, model, j.Size().Keys)
			},
			"crash": func(t *rapid.T) {
				crash(t, j)
				var got map[Key]string
				j, _, got = open(t, opts)
				require.Equal(t, model, got)
			},
		})
	})
}

func FuzzSegment(f *testing.F) {
	opts := options(f.TempDir())
	j, _, _ := open(f, opts)
	put(f, j, 1, 1, "one")
	put(f, j, 2, 300, "two")
	crash(f, j)
	b, err := os.ReadFile(j.segments[0].path)
	require.NoError(f, err)
	f.Add(b[headerSize:])
	f.Fuzz(func(t *testing.T, frames []byte) {
		j := &Journal{opts: opts}
		s := bytes.Join([][]byte{j.header(), frames}, nil)
		torn := j.scanFrames(&segment{number: 1}, s)
		require.LessOrEqual(t, torn, len(frames))
		for _, p := range j.index.all {
			require.LessOrEqual(t, int64(p.offset)+int64(p.size), int64(len(s)))
		}
	})
}
