// Package pfcp owns PFCP (TS 29.244) as both roles speak it: the typed messages, their one-pass decoder and
// encoder, and the reliable transport under them. It knows neither sessions nor data paths.
//
// Decoding is "parse, don't validate": a message that Parse returned has every mandatory IE, and every IE in
// it is whole, so that no reader checks again. Nothing parsed aliases the receive buffer.
package pfcp

import (
	"fmt"
	"net/netip"
)

// Identifiers, each a type of its own so that the compiler keeps a FAR ID out of a PDR's place.
type (
	// SEID is a session endpoint id, TS 29.244 5.6.2; 0 is never allocated.
	SEID uint64
	// TEID is a tunnel endpoint id of GTP-U, TS 29.281 5.1; 0 is never allocated to a session.
	TEID uint32
	// PDRID is the PDR ID IE (type 56), TS 29.244 8.2.36.
	PDRID uint16
	// FARID is the FAR ID IE (type 108), TS 29.244 8.2.74; bit 32 set: predefined in the UP.
	FARID uint32
	// QERID is the QER ID IE (type 109), TS 29.244 8.2.75; 0 is legal.
	QERID uint32
	// URRID is the URR ID IE (type 81), TS 29.244 8.2.54.
	URRID uint32
	// BARID is the BAR ID IE (type 88), TS 29.244 8.2.57.
	BARID uint8
	// TrafficEndpointID is the Traffic Endpoint ID IE (type 131), TS 29.244 8.2.92.
	TrafficEndpointID uint8
	// Precedence is the Precedence IE (type 29), TS 29.244 8.2.11; the lower value is matched first.
	Precedence uint32
	// Sequence is the number of a request and its response, TS 29.244 7.2.2.2; 24 bits.
	Sequence uint32
)

// Opt is an optional IE: Value means something only when Present.
type Opt[T any] struct {
	Value   T
	Present bool
}

// Some is a present optional IE.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, Present: true} }

// RecoveryTimeStamp is when an entity lost its session state last, TS 29.244 8.2.65: seconds since
// 1900-01-01T00:00:00Z (the NTP era), a generation of state rather than of a process.
type RecoveryTimeStamp uint32

// NodeID is the Node ID IE, TS 29.244 8.2.38: an address or an FQDN, never both.
type NodeID struct {
	Addr netip.Addr // zero when FQDN is set
	FQDN string     // without label encoding
}

// String returns the address or the FQDN; it is what indexes and logs use.
func (n NodeID) String() string {
	if n.Addr.IsValid() {
		return n.Addr.String()
	}
	return n.FQDN
}

// FSEID is the F-SEID IE (type 57), TS 29.244 8.2.37.
type FSEID struct {
	SEID       SEID
	IPv4, IPv6 netip.Addr // zero when absent; at least one is set
}

// FTEID is the F-TEID IE (type 21), TS 29.244 8.2.3. With Choose set the UP function allocates: TEID and
// addresses are then zero, and ChooseIPv4 and ChooseIPv6 are the families asked for (neither: IPv4).
type FTEID struct {
	TEID                   TEID
	IPv4, IPv6             netip.Addr
	Choose                 bool
	ChooseIPv4, ChooseIPv6 bool
	ChooseID               Opt[uint8] // PDRs of one request with the same id share one F-TEID
}

// UEIPAddress is the UE IP Address IE (type 93), TS 29.244 8.2.62.
type UEIPAddress struct {
	IPv4, IPv6             netip.Addr
	IPv6PrefixLength       uint8 // 64 unless the IP6PL flag brought another; 0 without IPv6; to encode, 0 is 64
	Destination            bool  // the S/D flag; the direction of a PDR comes from its Source Interface only
	ChooseIPv4, ChooseIPv6 bool  // CHV4, CHV6
	IPv6DelegationBits     uint8 // so many bits before the 64th count the prefixes that are delegated; 0: none are
}

// Interface is the value of the Source Interface and Destination Interface IEs, TS 29.244 8.2.2 and 8.2.24.
type Interface uint8

// Values of Interface.
const (
	InterfaceAccess     Interface = 0
	InterfaceCore       Interface = 1
	InterfaceSGiLAN     Interface = 2 // SGi-LAN/N6-LAN: the same side as core
	InterfaceCPFunction Interface = 3
)

// String returns the glossary's word.
func (i Interface) String() string {
	switch i {
	case InterfaceAccess:
		return "access"
	case InterfaceCore:
		return "core"
	case InterfaceSGiLAN:
		return "sgi-lan"
	case InterfaceCPFunction:
		return "cp-function"
	}
	return fmt.Sprintf("interface(%d)", uint8(i))
}

// NetworkInstance is the Network Instance IE (type 22), TS 29.244 8.2.4, decoded from labels or plain text,
// in lower case; "" is a zero-length IE.
type NetworkInstance string

// ApplyAction is the Apply Action IE (type 44), TS 29.244 8.2.26; the low octet is octet 5.
type ApplyAction uint16

// Flags of ApplyAction.
const (
	ActionDrop      ApplyAction = 1 << 0 // DROP
	ActionForward   ApplyAction = 1 << 1 // FORW
	ActionBuffer    ApplyAction = 1 << 2 // BUFF
	ActionNotifyCP  ApplyAction = 1 << 3 // NOCP
	ActionDuplicate ApplyAction = 1 << 4 // DUPL
)

// OuterHeaderRemoval is the Outer Header Removal IE (type 95), TS 29.244 8.2.64: its description.
type OuterHeaderRemoval uint8

// Values of OuterHeaderRemoval.
const (
	RemoveGTPUUDPIPv4 OuterHeaderRemoval = 0
	RemoveGTPUUDPIPv6 OuterHeaderRemoval = 1
	RemoveGTPUUDPIP   OuterHeaderRemoval = 6
)

// OuterHeaderCreation is the Outer Header Creation IE (type 84), TS 29.244 8.2.56, for GTP-U/UDP/IP.
type OuterHeaderCreation struct {
	Description uint16 // octets 5 and 6: bit 0x0100 GTP-U/UDP/IPv4, 0x0200 GTP-U/UDP/IPv6
	TEID        TEID
	IPv4, IPv6  netip.Addr
}

// Descriptions of OuterHeaderCreation.
const (
	CreateGTPUUDPIPv4 uint16 = 0x0100
	CreateGTPUUDPIPv6 uint16 = 0x0200
)

// PDI is the PDI IE (type 2), TS 29.244 7.5.2.2-2.
type PDI struct {
	SourceInterface Interface
	FTEID           Opt[FTEID]
	NetworkInstance Opt[NetworkInstance]
	UEIPAddress     Opt[UEIPAddress]
	SDFFilters      []SDFFilter
	QFI             []uint8 // TS 29.244 8.2.89

	TrafficEndpointIDs []TrafficEndpointID // instead of F-TEID, network instance, UE address and framed routes
	ApplicationID      Opt[string]         // TS 29.244 8.2.6
	FramedRoutes       FramedRoutes
}

// SDFFilter is the SDF Filter IE (type 23), TS 29.244 8.2.5.
type SDFFilter struct {
	FlowDescription string // IPFilterRule, RFC 6733 4.3.1; "" when absent
	ToSTrafficClass Opt[uint16]
	SPI             Opt[uint32]
	FlowLabel       Opt[uint32] // 20 bits
	FilterID        Opt[uint32]
}

// CreatePDR is the Create PDR IE (type 1), TS 29.244 7.5.2.2.
type CreatePDR struct {
	ID                 PDRID
	Precedence         Precedence
	PDI                PDI
	OuterHeaderRemoval Opt[OuterHeaderRemoval]
	FARID              Opt[FARID]
	URRIDs             []URRID
	QERIDs             []QERID

	ActivatePredefinedRules []string // names, TS 29.244 8.2.72
	AddressPools            []string // to choose UE addresses from, TS 29.244 8.2.128
}

// UpdatePDR is the Update PDR IE (type 9), TS 29.244 7.5.4.2. Absent means unchanged.
type UpdatePDR struct {
	ID                 PDRID
	Precedence         Opt[Precedence]
	PDI                Opt[PDI]
	OuterHeaderRemoval Opt[OuterHeaderRemoval]
	FARID              Opt[FARID]
	URRIDs             Opt[[]URRID]
	QERIDs             Opt[[]QERID]

	ActivatePredefinedRules   []string // names, TS 29.244 8.2.72
	DeactivatePredefinedRules []string // names, TS 29.244 8.2.73

	Removed IETypes // what is no more: IEs that came with no length, TS 29.244 5.6.3
}

// ForwardingParameters is the Forwarding Parameters IE (type 4), TS 29.244 7.5.2.3-2, and the Update
// Forwarding Parameters IE (type 11), 7.5.4.3-2.
type ForwardingParameters struct {
	DestinationInterface  Opt[Interface]
	NetworkInstance       Opt[NetworkInstance]
	OuterHeaderCreation   Opt[OuterHeaderCreation]
	TransportLevelMarking Opt[uint16]            // ToS/traffic class octet, then its mask, TS 29.244 8.2.12
	SendEndMarker         bool                   // SNDEM of PFCPSMReq-Flags, only in an update
	TrafficEndpointID     Opt[TrafficEndpointID] // Linked Traffic Endpoint ID
	Redirect              Opt[RedirectInformation]
	ForwardingPolicy      Opt[string] // its identifier, of at most 255 octets, TS 29.244 8.2.23
	HeaderEnrichments     []HeaderEnrichment
	Removed               IETypes // what is no more: IEs that came with no length in an update, TS 29.244 5.6.3
}

// CreateFAR is the Create FAR IE (type 3), TS 29.244 7.5.2.3.
type CreateFAR struct {
	ID                   FARID
	ApplyAction          ApplyAction
	ForwardingParameters Opt[ForwardingParameters]
	Duplicating          []DuplicatingParameters
	BARID                Opt[BARID]
}

// UpdateFAR is the Update FAR IE (type 10), TS 29.244 7.5.4.3.
type UpdateFAR struct {
	ID                   FARID
	ApplyAction          Opt[ApplyAction]
	ForwardingParameters Opt[ForwardingParameters]
	Duplicating          []DuplicatingParameters
	BARID                Opt[BARID]

	Removed IETypes // what is no more: IEs that came with no length, TS 29.244 5.6.3
}

// BitRate is the MBR IE (type 26) and the GBR IE (type 27), TS 29.244 8.2.8 and 8.2.9, in kbit/s (1,000 bit).
type BitRate struct {
	Uplink, Downlink uint64 // 40 bits on the wire
}

// GateStatus is the Gate Status IE (type 25), TS 29.244 8.2.7: true is CLOSED.
type GateStatus struct {
	UplinkClosed, DownlinkClosed bool
}

// CreateQER is the Create QER IE (type 7), TS 29.244 7.5.2.5.
type CreateQER struct {
	ID            QERID
	CorrelationID Opt[uint32]
	GateStatus    GateStatus
	MBR           Opt[BitRate] // absent: this QER does not limit
	GBR           Opt[BitRate]
	QFI           Opt[uint8]
}

// UpdateQER is the Update QER IE (type 14), TS 29.244 7.5.4.5.
type UpdateQER struct {
	ID            QERID
	CorrelationID Opt[uint32]
	GateStatus    Opt[GateStatus]
	MBR           Opt[BitRate]
	GBR           Opt[BitRate]
	QFI           Opt[uint8]

	Removed IETypes // what is no more: IEs that came with no length, TS 29.244 5.6.3
}

// CreatedPDR is the Created PDR IE (type 8), TS 29.244 7.5.3.2: what the UP function allocated.
type CreatedPDR struct {
	ID          PDRID
	FTEID       Opt[FTEID]
	UEIPAddress Opt[UEIPAddress]
}

// RuleKind says of what kind a failed rule is, TS 29.244 8.2.80.
type RuleKind uint8

// Values of RuleKind.
const (
	RulePDR RuleKind = 0
	RuleFAR RuleKind = 1
	RuleQER RuleKind = 2
	RuleURR RuleKind = 3
	RuleBAR RuleKind = 4
)

// FailedRuleID is the Failed Rule ID IE (type 114), TS 29.244 8.2.80.
type FailedRuleID struct {
	Kind RuleKind
	ID   uint32
}
