package subscriber

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIMEILock(t *testing.T) {
	const device, sameDevice, sameDeviceSV, other = "35609204079300", "356092040793001", "3560920407930012", "356092040793991"
	rows := []struct {
		name string
		lock IMEILock
		imei string
		want Verdict
	}{
		{"no lock", IMEILock{}, other, DeviceAllowed},
		{"no lock, no IMEI, refusing the absent is no lock by itself", IMEILock{Absent: RefuseAbsent}, "", DeviceAllowed},
		{"the bound device", IMEILock{IMEIs: []string{device}}, sameDevice, DeviceAllowed},
		{"the bound device with its software's version", IMEILock{IMEIs: []string{device}}, sameDeviceSV, DeviceAllowed},
		{"the bound device without check digit", IMEILock{IMEIs: []string{device}}, device, DeviceAllowed},
		{"another device", IMEILock{IMEIs: []string{device}}, other, DeviceRefused},
		{"one of two", IMEILock{IMEIs: []string{"11111111111111", device}}, sameDevice, DeviceAllowed},
		{"no IMEI: many networks never send it", IMEILock{IMEIs: []string{device}}, "", DeviceAllowed},
		{"no IMEI where one is wanted", IMEILock{IMEIs: []string{device}, Absent: RefuseAbsent}, "", DeviceRefused},
		{"what is no IMEI", IMEILock{IMEIs: []string{device}}, "3560920407930", DeviceRefused},
		{"letters", IMEILock{IMEIs: []string{device}}, "3560920407930a", DeviceRefused},
		{"a model", IMEILock{TACs: []string{"35609204"}}, other, DeviceAllowed},
		{"a range of models", IMEILock{TACs: []string{"35609200-35609210"}}, other, DeviceAllowed},
		{"the range's last", IMEILock{TACs: []string{"35609200-35609204"}}, other, DeviceAllowed},
		{"beyond the range", IMEILock{TACs: []string{"35609200-35609203"}}, other, DeviceRefused},
		{"below the range", IMEILock{TACs: []string{"35609205-35609210"}}, other, DeviceRefused},
		{"the first device is learned", IMEILock{Learn: true}, sameDevice, DeviceLearned},
		{"the second is not", IMEILock{Learn: true, IMEIs: []string{device}}, other, DeviceRefused},
		{"the learned one again", IMEILock{Learn: true, IMEIs: []string{device}}, sameDeviceSV, DeviceAllowed},
		{"nothing is learned from nothing", IMEILock{Learn: true}, "", DeviceAllowed},
		{"learned within the models only", IMEILock{Learn: true, TACs: []string{"99999999"}}, other, DeviceRefused},
		{"learned within the models", IMEILock{Learn: true, TACs: []string{"35609204"}}, other, DeviceLearned},
		{"a device that is bound by hand needs no range", IMEILock{IMEIs: []string{device}, TACs: []string{"99999999"}}, sameDevice, DeviceAllowed},
		{"another device of a bound SIM's model", IMEILock{IMEIs: []string{device}, TACs: []string{"35609204"}}, other, DeviceRefused},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			require.NoError(t, row.lock.Validate())
			require.Equal(t, row.want, row.lock.Check(row.imei))
		})
	}
	lock, err := IMEILock{}.Bind(sameDevice)
	require.NoError(t, err)
	require.Equal(t, []string{device}, lock.IMEIs)
	again, err := lock.Bind(sameDeviceSV)
	require.NoError(t, err)
	require.Equal(t, lock, again)
	free, err := lock.Unbind(sameDevice)
	require.NoError(t, err)
	require.True(t, free.IsZero() || len(free.IMEIs) == 0)
	require.Len(t, lock.IMEIs, 1, "the lock before is as it was")
	_, err = lock.Bind("12")
	require.Error(t, err)
	require.Error(t, IMEILock{IMEIs: []string{sameDevice}, TACs: []string{"1-2"}, Absent: "maybe"}.Validate())
}
