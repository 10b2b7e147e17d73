package pfcp

import "time"

// TimeStamp is a point in time on the wire (monitoring time, start and end of a measurement and the like), TS 29.244
// 8.2.14: seconds since 1900-01-01T00:00:00Z, the upper half of an NTP time stamp. It starts again in 2036.
type TimeStamp uint32

// ntpToUnix is the Unix epoch in seconds of the NTP era that began in 1900.
const ntpToUnix = 2_208_988_800

// TimeStampOf returns the second that t is in.
func TimeStampOf(t time.Time) TimeStamp { return TimeStamp(t.Unix() + ntpToUnix) }

// Time returns the begin of the second, in UTC, between 1968 and 2104: without the highest bit it is in the era that
// begins in 2036 (RFC 4330 3).
func (t TimeStamp) Time() time.Time {
	seconds := int64(t)
	if t < 1<<31 {
		seconds += 1 << 32
	}
	return time.Unix(seconds-ntpToUnix, 0).UTC()
}

// Timer is a duration in one octet, TS 29.244 8.2.29, 8.2.35 and 8.2.78: the unit in the upper three bits, how many
// of it in the lower five.
type Timer uint8

// TimerInfinite has no end, TimerStopped does not run.
const (
	TimerInfinite Timer = 0xe0
	TimerStopped  Timer = 0
)

// TimerOf returns the shortest Timer that is not below d; beyond 310 hours it is TimerInfinite.
func TimerOf(d time.Duration) Timer {
	for unit := range uint8(5) {
		if step := timerUnit(unit); d <= 31*step {
			return Timer(unit<<5 | uint8((max(d, 0)+step-1)/step))
		}
	}
	return TimerInfinite
}

// Duration returns how long the timer runs; ok is false when it has no end.
func (t Timer) Duration() (_ time.Duration, ok bool) {
	if t>>5 == TimerInfinite>>5 {
		return 0, false
	}
	return timerUnit(uint8(t>>5)) * time.Duration(t&0x1f), true
}

// timerUnit returns the length of a unit; those that are not assigned are minutes.
func timerUnit(unit uint8) time.Duration {
	switch unit {
	case 0:
		return 2 * time.Second
	case 2:
		return 10 * time.Minute
	case 3:
		return time.Hour
	case 4:
		return 10 * time.Hour
	default:
		return time.Minute
	}
}
