package pfcp

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
)

// writePCAP writes each payload as a UDP datagram to the port of PFCP.
func writePCAP(t *testing.T, path string, payloads [][]byte) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	w := pcapgo.NewWriter(f)
	require.NoError(t, w.WriteFileHeader(1<<16, layers.LinkTypeRaw))
	for _, payload := range payloads {
		network := &layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ip(testCP), DstIP: ip(testUP),
		}
		transport := &layers.UDP{SrcPort: 8805, DstPort: 8805}
		require.NoError(t, transport.SetNetworkLayerForChecksum(network))
		frame := gopacket.NewSerializeBuffer()
		require.NoError(t, gopacket.SerializeLayers(frame,
			gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, network, transport, gopacket.Payload(payload)))
		b := frame.Bytes()
		require.NoError(t, w.WritePacket(gopacket.CaptureInfo{
			Timestamp: time.Unix(0, 0), CaptureLength: len(b), Length: len(b),
		}, b))
	}
	require.NoError(t, f.Close())
}

// tshark is a witness of what we send that shares no code with us: all of it is PFCP to it, none of it malformed,
// and it has no complaint of any kind.
func TestTsharkReadsWhatWeMarshal(t *testing.T) {
	var payloads [][]byte
	add := func(h Header, m Message) {
		b, err := Marshal(h, m)
		require.NoError(t, err)
		payloads = append(payloads, b)
	}
	for _, row := range witnesses() {
		if !row.lossy {
			add(row.header, row.ours)
		}
	}
	path := filepath.Join(t.TempDir(), "pfcp.pcap")
	writePCAP(t, path, payloads)

	run := func(filter string) string {
		return tshark(t, path, "-Y", filter, "-T", "fields", "-E", "separator=,",
			"-e", "frame.number", "-e", "pfcp.msg_type", "-e", "_ws.expert.message")
	}
	require.Len(t, strings.Split(run("pfcp"), "\n"), len(payloads))
	require.Empty(t, run("_ws.malformed or _ws.expert.severity >= Warning"))
}

// tshark returns what the program of that name says of the capture at path.
func tshark(t *testing.T, path string, arguments ...string) string {
	var complaints bytes.Buffer
	cmd := exec.Command("tshark", append([]string{"-r", path}, arguments...)...)
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	require.NoError(t, err, "tshark must be installed: make test does it: %s", complaints.String())
	return strings.TrimSpace(string(out))
}

// tshark knows the name of every flag that we know.
func TestTsharkNamesOurFlags(t *testing.T) {
	var payloads [][]byte
	var names []string
	expect := func(name string, m Message) {
		b, err := Marshal(Header{}, m)
		require.NoError(t, err)
		payloads, names = append(payloads, b), append(names, name)
	}
	for flag, name := range map[UPFunctionFeatures]string{
		FeatureDDND:  "DDND",
		FeatureDLBD:  "DLBD",
		FeatureFTUP:  "FTUP",
		FeaturePFDM:  "PFDM",
		FeatureTREU:  "TREU",
		FeatureEMPU:  "EMPU",
		FeaturePDIU:  "PDIU",
		FeatureUDBC:  "UDBC",
		FeatureQUOAC: "QUOAC",
		FeatureFRRT:  "FRRT",
		FeatureEPFAR: "EPFAR",
		FeatureADPDP: "ADPDP",
		FeatureUEIP:  "UEIP",
		FeatureSSET:  "SSET",
		FeatureMNOP:  "MNOP",
		FeatureMTE:   "MTE",
		FeatureVTIME: "VTIME",
		FeatureNORP:  "NORP",
		FeatureIP6PL: "IP6PL",
	} {
		expect(name, &AssociationUpdateRequest{NodeID: NodeID{Addr: testUP}, UPFunctionFeatures: Some(flag)})
	}
	for flag, name := range map[uint8]string{
		CPFeatureLOAD:  "LOAD",
		CPFeatureOVRL:  "OVRL",
		CPFeatureEPFAR: "EPFAR",
		CPFeatureSSET:  "SSET",
	} {
		expect(name, &AssociationUpdateRequest{NodeID: NodeID{Addr: testUP}, CPFunctionFeatures: Some(flag)})
	}
	for flag, name := range map[ReportingTriggers]string{
		ReportPeriodic:         "PERIO",
		ReportVolumeThreshold:  "VOLTH",
		ReportTimeThreshold:    "TIMTH",
		ReportQuotaHoldingTime: "QUHTI",
		ReportStartOfTraffic:   "START",
		ReportStopOfTraffic:    "STOPT",
		ReportDroppedDownlink:  "DROTH",
		ReportLinkedUsage:      "LIUSA",
		ReportVolumeQuota:      "VOLQU",
		ReportTimeQuota:        "TIMQU",
		ReportEnvelopeClosure:  "ENVCL",
		ReportMACAddresses:     "MACAR",
		ReportEventThreshold:   "EVETH",
		ReportEventQuota:       "EVEQU",
		ReportIPMulticast:      "IPMJL",
		ReportQuotaValidity:    "QUVTI",
	} {
		expect(name, &SessionModificationRequest{UpdateURRs: []UpdateURR{{ReportingTriggers: Some(flag)}}})
	}
	for flag, name := range map[MeasurementInformation]string{
		MeasureBeforeQoS:         "MBQE",
		MeasurementInactive:      "INAM",
		ReduceApplicationReports: "RADI",
		StartTimeImmediately:     "ISTM",
		MeasurePackets:           "MNOP",
	} {
		expect(name, &SessionModificationRequest{UpdateURRs: []UpdateURR{{
			URRParameters: URRParameters{MeasurementInformation: Some(flag)},
		}}})
	}
	for flag, name := range map[uint32]string{
		TriggerPeriodic:         "PERIO",
		TriggerVolumeThreshold:  "VOLTH",
		TriggerTimeThreshold:    "TIMTH",
		TriggerQuotaHoldingTime: "QUHTI",
		TriggerStartOfTraffic:   "START",
		TriggerStopOfTraffic:    "STOPT",
		TriggerDroppedDownlink:  "DROTH",
		TriggerLinkedUsage:      "LIUSA",
		TriggerVolumeQuota:      "VOLQU",
		TriggerTimeQuota:        "TIMQU",
		TriggerEnvelopeClosure:  "ENVCL",
		TriggerMACAddresses:     "MACAR",
		TriggerEventThreshold:   "EVETH",
		TriggerEventQuota:       "EVEQU",
		TriggerIPMulticast:      "IPMJL",
		TriggerQuotaValidity:    "QUVTI",
		TriggerImmediate:        "IMMER",
		TriggerTermination:      "TERMR",
		TriggerMonitoringTime:   "MONIT",
		TriggerByUserPlane:      "TEMUR", // TEBUR in the standard
	} {
		expect(name, &SessionDeletionResponse{Cause: CauseAccepted, UsageReports: []UsageReport{{Trigger: flag}}})
	}
	for flag, name := range map[UsageInformation]string{
		UsageBeforeMonitoringTime: "BEF",
		UsageAfterMonitoringTime:  "AFT",
		UsageAfterQoS:             "UAE",
		UsageBeforeQoS:            "UBE",
	} {
		expect(name, &SessionDeletionResponse{Cause: CauseAccepted, UsageReports: []UsageReport{{UsageInformation: Some(flag)}}})
	}
	for flag, name := range map[ReportType]string{
		ReportDownlinkData:    "DLDR",
		ReportUsage:           "USAR",
		ReportErrorIndication: "ERIR",
		ReportInactivity:      "UPIR",
	} {
		expect(name, &SessionReportRequest{ReportType: flag})
	}
	for flag, name := range map[NodeReportType]string{
		NodeReportPathFailure:  "UPFR",
		NodeReportPathRecovery: "UPRR",
	} {
		expect(name, &NodeReportRequest{NodeID: NodeID{Addr: testUP}, ReportType: flag})
	}
	path := filepath.Join(t.TempDir(), "pfcp.pcap")
	writePCAP(t, path, payloads)
	frames := strings.Split(tshark(t, path, "-V"), "\nFrame ")
	require.Len(t, frames, len(payloads))
	set := regexp.MustCompile(`(?m)^ +[. ]*1[. ]* = (\w+)\b.*: (True|Supported)`)
	for i, name := range names {
		var found []string
		for _, flag := range set.FindAllStringSubmatch(frames[i], -1) {
			if flag[1] != "SEID" { // of the header
				found = append(found, flag[1])
			}
		}
		require.Equal(t, []string{name}, found, "frame %d", i+1)
	}
}
