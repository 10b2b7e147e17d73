package sxb

import (
	"net/netip"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// featureNames are the standard's, of those features that pkg/pfcp knows.
var featureNames = map[string]pfcp.UPFunctionFeatures{
	"DDND": pfcp.FeatureDDND, "DLBD": pfcp.FeatureDLBD, "FTUP": pfcp.FeatureFTUP, "PFDM": pfcp.FeaturePFDM, "TREU": pfcp.FeatureTREU,
	"EMPU": pfcp.FeatureEMPU, "PDIU": pfcp.FeaturePDIU, "UDBC": pfcp.FeatureUDBC, "QUOAC": pfcp.FeatureQUOAC, "FRRT": pfcp.FeatureFRRT,
	"EPFAR": pfcp.FeatureEPFAR, "ADPDP": pfcp.FeatureADPDP, "UEIP": pfcp.FeatureUEIP, "SSET": pfcp.FeatureSSET, "MNOP": pfcp.FeatureMNOP,
	"MTE": pfcp.FeatureMTE, "VTIME": pfcp.FeatureVTIME, "NORP": pfcp.FeatureNORP, "IP6PL": pfcp.FeatureIP6PL,
}

// Every bit that is announced stands with its test in docs/pfcp-interop.md, and every one that stands there is announced.
func TestEveryFeatureThatIsAnnouncedHasATest(t *testing.T) {
	page, err := os.ReadFile("../../docs/pfcp-interop.md")
	require.NoError(t, err)
	documented := pfcp.UPFunctionFeatures(0)
	for _, row := range regexp.MustCompile("(?m)^\\| ([A-Z0-9]+) \\| (?:always|with `[a-z_]+`) \\| `Test").FindAllSubmatch(page, -1) {
		bit, ok := featureNames[string(row[1])]
		require.True(t, ok, "%s is no feature", row[1])
		documented |= bit
	}
	full := Config{AddressPools: []AddressPool{{Name: "a", IPv4: netip.MustParsePrefix("10.0.0.0/24")}}}
	full.Predefined = []PredefinedRule{{Predefined: session.Predefined{Name: "a"}}}
	require.Equal(t, documented, full.features())
	require.Equal(t, documented&^(pfcp.FeatureUEIP|pfcp.FeatureADPDP), Config{}.features())
}
