package provision

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/xepc/xepc/hss/store"
)

// Refused is a request that was understood and refused.
type Refused struct {
	Status  int    // of HTTP
	Message string // for the person who asked; never has a key
}

// Error returns the message.
func (r *Refused) Error() string { return r.Message }

func refuse(status int, format string, args ...any) error {
	return &Refused{Status: status, Message: withoutKeys(fmt.Sprintf(format, args...))}
}

// keyLike are digits of a K or OPc, or most of one, that came in another field's place. Of what has its place in a message only
// an EID is as long.
var keyLike = regexp.MustCompile(`[0-9A-Fa-f]{24,}`)

func withoutKeys(s string) string { return keyLike.ReplaceAllString(s, "…") }

func bad(format string, args ...any) error { return refuse(http.StatusBadRequest, format, args...) }

// refusal gives an error of the store its status. what is the object of the request.
func refusal(what string, err error) error {
	var taken *store.TakenError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &taken):
		return refuse(http.StatusConflict, "%v", taken)
	case errors.Is(err, store.ErrUnknown):
		return refuse(http.StatusNotFound, "no %s", what)
	case errors.Is(err, store.ErrExists):
		return refuse(http.StatusConflict, "a %s exists: remove it first", what)
	case errors.Is(err, store.ErrChanged):
		return refuse(http.StatusConflict, "%s is being changed by others too: try again", what)
	case errors.Is(err, store.ErrInUse):
		return refuse(http.StatusConflict, "SIMs refer to %s: change them first", what)
	case errors.Is(err, store.ErrNotListed):
		return refuse(http.StatusServiceUnavailable, "%v, and try again when it has ended", err)
	case errors.Is(err, store.ErrUnavailable):
		return refuse(http.StatusServiceUnavailable, "%v: try again when it is back", err)
	}
	return err
}
