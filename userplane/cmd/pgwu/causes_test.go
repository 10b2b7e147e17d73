package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath"
)

// TestRefusalsOfTheDataPathNameTheRule gives each error of the data path a cause, and the PDR whose entry it was.
func TestRefusalsOfTheDataPathNameTheRule(t *testing.T) {
	require.NoError(t, toldToPeers(nil))
	broken := errors.New("broken")
	require.Equal(t, broken, toldToPeers(broken), "a fault of ours is no fault of the request's")
	for err, cause := range map[error]pfcp.Cause{
		datapath.ErrTableFull:       pfcp.CauseNoResourcesAvailable,
		datapath.ErrSlotTaken:       pfcp.CauseRuleCreationFailure,
		datapath.ErrUnknownSlice:    pfcp.CauseRuleCreationFailure,
		datapath.ErrUnknownInstance: pfcp.CauseRuleCreationFailure,
		datapath.ErrInvalid:         pfcp.CauseRuleCreationFailure,
	} {
		var told *pfcp.Error
		require.ErrorAs(t, toldToPeers(&datapath.PutError{PDR: 7, Err: fmt.Errorf("somewhere: %w", err)}), &told)
		require.Equal(t, cause, told.Cause, err)
		require.Equal(t, pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RulePDR, ID: 7}), told.FailedRule)
		require.ErrorIs(t, told, err)
		require.ErrorAs(t, toldToPeers(err), &told)
		require.Equal(t, cause, told.Cause)
		require.False(t, told.FailedRule.Present, "no entry is to blame")
	}
}
