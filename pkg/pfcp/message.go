package pfcp

import "fmt"

// MessageType is octet 2 of the header, TS 29.244 7.3.
type MessageType uint8

// Message types, TS 29.244 7.3.
const (
	TypeHeartbeatRequest             MessageType = 1
	TypeHeartbeatResponse            MessageType = 2
	TypePFDManagementRequest         MessageType = 3
	TypePFDManagementResponse        MessageType = 4
	TypeAssociationSetupRequest      MessageType = 5
	TypeAssociationSetupResponse     MessageType = 6
	TypeAssociationUpdateRequest     MessageType = 7
	TypeAssociationUpdateResponse    MessageType = 8
	TypeAssociationReleaseRequest    MessageType = 9
	TypeAssociationReleaseResponse   MessageType = 10
	TypeVersionNotSupportedResponse  MessageType = 11
	TypeNodeReportRequest            MessageType = 12
	TypeNodeReportResponse           MessageType = 13
	TypeSessionSetDeletionRequest    MessageType = 14
	TypeSessionSetDeletionResponse   MessageType = 15
	TypeSessionEstablishmentRequest  MessageType = 50
	TypeSessionEstablishmentResponse MessageType = 51
	TypeSessionModificationRequest   MessageType = 52
	TypeSessionModificationResponse  MessageType = 53
	TypeSessionDeletionRequest       MessageType = 54
	TypeSessionDeletionResponse      MessageType = 55
	TypeSessionReportRequest         MessageType = 56
	TypeSessionReportResponse        MessageType = 57
)

// Response returns the type of the answer to a request of type t; false when t is no request.
func (t MessageType) Response() (MessageType, bool) {
	switch t {
	case TypeHeartbeatRequest, TypePFDManagementRequest, TypeAssociationSetupRequest, TypeAssociationUpdateRequest,
		TypeAssociationReleaseRequest, TypeNodeReportRequest, TypeSessionSetDeletionRequest,
		TypeSessionEstablishmentRequest, TypeSessionModificationRequest, TypeSessionDeletionRequest,
		TypeSessionReportRequest:
		return t + 1, true
	default:
		return 0, false
	}
}

// session says whether t is a message of one session, so that its header carries a SEID, TS 29.244 7.2.2.3.
func (t MessageType) session() bool {
	return t >= TypeSessionEstablishmentRequest && t <= TypeSessionReportResponse
}

// String returns the standard's name.
func (t MessageType) String() string {
	if s, ok := messageNames[t]; ok {
		return s
	}
	return fmt.Sprintf("message type %d", uint8(t))
}

var messageNames = map[MessageType]string{
	TypeHeartbeatRequest:             "Heartbeat Request",
	TypeHeartbeatResponse:            "Heartbeat Response",
	TypePFDManagementRequest:         "PFD Management Request",
	TypePFDManagementResponse:        "PFD Management Response",
	TypeAssociationSetupRequest:      "Association Setup Request",
	TypeAssociationSetupResponse:     "Association Setup Response",
	TypeAssociationUpdateRequest:     "Association Update Request",
	TypeAssociationUpdateResponse:    "Association Update Response",
	TypeAssociationReleaseRequest:    "Association Release Request",
	TypeAssociationReleaseResponse:   "Association Release Response",
	TypeVersionNotSupportedResponse:  "Version Not Supported Response",
	TypeNodeReportRequest:            "Node Report Request",
	TypeNodeReportResponse:           "Node Report Response",
	TypeSessionSetDeletionRequest:    "Session Set Deletion Request",
	TypeSessionSetDeletionResponse:   "Session Set Deletion Response",
	TypeSessionEstablishmentRequest:  "Session Establishment Request",
	TypeSessionEstablishmentResponse: "Session Establishment Response",
	TypeSessionModificationRequest:   "Session Modification Request",
	TypeSessionModificationResponse:  "Session Modification Response",
	TypeSessionDeletionRequest:       "Session Deletion Request",
	TypeSessionDeletionResponse:      "Session Deletion Response",
	TypeSessionReportRequest:         "Session Report Request",
	TypeSessionReportResponse:        "Session Report Response",
}

// Message is a PFCP message without its header: one of the structs of this file, by pointer.
type Message interface {
	Type() MessageType
}

// Header is the PFCP header, TS 29.244 7.2.2. SEID is that of the receiver, present in session messages.
type Header struct {
	Type     MessageType
	SEID     SEID
	Sequence Sequence
}

// HeartbeatRequest is the Heartbeat Request, TS 29.244 7.4.2.1.
type HeartbeatRequest struct {
	RecoveryTimeStamp Opt[RecoveryTimeStamp] // mandatory in the standard; some peers leave it out
}

// HeartbeatResponse is the Heartbeat Response, TS 29.244 7.4.2.2.
type HeartbeatResponse struct {
	RecoveryTimeStamp Opt[RecoveryTimeStamp]
}

// AssociationSetupRequest is the Association Setup Request, TS 29.244 7.4.4.1.
type AssociationSetupRequest struct {
	NodeID             NodeID
	RecoveryTimeStamp  RecoveryTimeStamp
	UPFunctionFeatures Opt[UPFunctionFeatures]
	CPFunctionFeatures Opt[uint8]
	IPResources        []IPResource
	Retain             Opt[[]Entity] // sessions that outlive the new association; of all entities when empty
	Ignored            IETypes       // what stood in it, at any depth, and nothing reads
}

// AssociationSetupResponse is the Association Setup Response, TS 29.244 7.4.4.2.
type AssociationSetupResponse struct {
	NodeID             NodeID
	Cause              Cause
	RecoveryTimeStamp  RecoveryTimeStamp
	UPFunctionFeatures Opt[UPFunctionFeatures]
	CPFunctionFeatures Opt[uint8]
	IPResources        []IPResource
	Retained           bool // PSREI of PFCPASRsp-Flags: the sessions were retained
}

// AssociationUpdateRequest is the Association Update Request, TS 29.244 7.4.4.3.
type AssociationUpdateRequest struct {
	NodeID                NodeID
	UPFunctionFeatures    Opt[UPFunctionFeatures]
	CPFunctionFeatures    Opt[uint8]
	ReleaseRequested      bool       // SARR: the UP function wants the association released
	NonZeroUsage          bool       // URSS: non-zero usage reports of its sessions are on their way
	GracefulReleasePeriod Opt[Timer] // how long the sessions go on till then
	ReleasePrepared       bool       // PARPS of PFCPAUReq-Flags: the CP function prepares for the release
	IPResources           []IPResource
	Ignored               IETypes // what stood in it, at any depth, and nothing reads
}

// AssociationUpdateResponse is the Association Update Response, TS 29.244 7.4.4.4.
type AssociationUpdateResponse struct {
	NodeID             NodeID
	Cause              Cause
	UPFunctionFeatures Opt[UPFunctionFeatures]
	CPFunctionFeatures Opt[uint8]
}

// AssociationReleaseRequest is the Association Release Request, TS 29.244 7.4.4.5.
type AssociationReleaseRequest struct {
	NodeID NodeID
}

// AssociationReleaseResponse is the Association Release Response, TS 29.244 7.4.4.6.
type AssociationReleaseResponse struct {
	NodeID NodeID
	Cause  Cause
}

// VersionNotSupportedResponse is the Version Not Supported Response, TS 29.244 7.4.4.7. It has no IEs.
type VersionNotSupportedResponse struct{}

// PFDManagementRequest is the PFD Management Request, TS 29.244 7.4.3.1. Without applications all PFDs go.
type PFDManagementRequest struct {
	Applications []ApplicationPFDs
	NodeID       Opt[NodeID]
	Ignored      IETypes // what stood in it, at any depth, and nothing reads
}

// PFDManagementResponse is the PFD Management Response, TS 29.244 7.4.3.2.
type PFDManagementResponse struct {
	Cause     Cause
	Offending Opt[uint16]
	NodeID    Opt[NodeID]
}

// NodeReportRequest is the Node Report Request, TS 29.244 7.4.5.1.
type NodeReportRequest struct {
	NodeID         NodeID
	ReportType     NodeReportType
	PathFailures   []RemoteGTPUPeer
	PathRecoveries []RemoteGTPUPeer
	Ignored        IETypes // what stood in it, at any depth, and nothing reads
}

// NodeReportResponse is the Node Report Response, TS 29.244 7.4.5.2.
type NodeReportResponse struct {
	NodeID    NodeID
	Cause     Cause
	Offending Opt[uint16]
}

// SessionSetDeletionRequest is the Session Set Deletion Request, TS 29.244 7.4.6.1.
type SessionSetDeletionRequest struct {
	NodeID  NodeID
	FQCSIDs []FQCSID // the sessions that any of them names go
	Ignored IETypes  // what stood in it, at any depth, and nothing reads
}

// SessionSetDeletionResponse is the Session Set Deletion Response, TS 29.244 7.4.6.2.
type SessionSetDeletionResponse struct {
	NodeID    NodeID
	Cause     Cause
	Offending Opt[uint16]
}

// SessionEstablishmentRequest is the Session Establishment Request, TS 29.244 7.5.2.
type SessionEstablishmentRequest struct {
	NodeID      NodeID
	FSEID       FSEID // the CP function's
	CreatePDRs  []CreatePDR
	CreateFARs  []CreateFAR
	CreateQERs  []CreateQER
	CreateURRs  []CreateURR
	PDNType     Opt[uint8] // 1 IPv4, 2 IPv6, 3 IPv4v6, TS 29.244 8.2.79
	Restoration bool       // RESTI of PFCPSEReq-Flags: F-TEIDs are to be taken exactly as given

	CreateBARs             []BAR
	CreateTrafficEndpoints []TrafficEndpoint
	InactivityTimer        Opt[uint32] // User Plane Inactivity Timer, seconds, TS 29.244 8.2.83
	FQCSIDs                []FQCSID    // of the CP functions of the session
	UserID                 Opt[UserID]
	APN                    Opt[string] // APN/DNN, TS 29.244 8.2.117
	SNSSAI                 Opt[SNSSAI]
	Ignored                IETypes // what stood in it, at any depth, and nothing reads
}

// SessionEstablishmentResponse is the Session Establishment Response, TS 29.244 7.5.3.
type SessionEstablishmentResponse struct {
	NodeID       NodeID
	Cause        Cause
	Offending    Opt[uint16] // IE type
	FSEID        Opt[FSEID]  // the UP function's; present when accepted
	CreatedPDRs  []CreatedPDR
	FailedRuleID Opt[FailedRuleID]

	CreatedTrafficEndpoints []CreatedTrafficEndpoint
	Load                    Opt[LoadControl]
	Overload                Opt[OverloadControl]
	FQCSID                  Opt[FQCSID] // the UP function's
}

// SessionModificationRequest is the Session Modification Request, TS 29.244 7.5.4.
type SessionModificationRequest struct {
	FSEID      Opt[FSEID] // the CP function's, when it changed (or is repeated)
	RemovePDRs []PDRID
	RemoveFARs []FARID
	RemoveURRs []URRID
	RemoveQERs []QERID
	CreatePDRs []CreatePDR
	CreateFARs []CreateFAR
	CreateURRs []CreateURR
	CreateQERs []CreateQER
	UpdatePDRs []UpdatePDR
	UpdateFARs []UpdateFAR
	UpdateQERs []UpdateQER
	QueryURRs  []URRID
	QueryAll   bool // QAURR of PFCPSMReq-Flags: all URRs of the session are queried

	UpdateURRs             []UpdateURR
	RemoveBARs             []BARID
	CreateBARs             []BAR
	UpdateBARs             []BAR
	RemoveTrafficEndpoints []TrafficEndpointID
	CreateTrafficEndpoints []TrafficEndpoint
	UpdateTrafficEndpoints []TrafficEndpoint
	DropBuffered           bool        // DROBU of PFCPSMReq-Flags: what is buffered is dropped
	QueryReference         Opt[uint32] // of the query, repeated in its reports, TS 29.244 8.2.90
	InactivityTimer        Opt[uint32] // User Plane Inactivity Timer, seconds; 0 ends it
	FQCSIDs                []FQCSID    // of the CP functions of the session
	Ignored                IETypes     // what stood in it, at any depth, and nothing reads
}

// SessionModificationResponse is the Session Modification Response, TS 29.244 7.5.5.
type SessionModificationResponse struct {
	Cause        Cause
	Offending    Opt[uint16]
	CreatedPDRs  []CreatedPDR
	FailedRuleID Opt[FailedRuleID]
	UsageReports []UsageReport

	CreatedTrafficEndpoints []CreatedTrafficEndpoint
	Load                    Opt[LoadControl]
	Overload                Opt[OverloadControl]
	AdditionalReports       Opt[AdditionalReports]
}

// SessionDeletionRequest is the Session Deletion Request, TS 29.244 7.5.6. It has no mandatory IEs; what some peers put in is ignored.
type SessionDeletionRequest struct{}

// SessionDeletionResponse is the Session Deletion Response, TS 29.244 7.5.7.
type SessionDeletionResponse struct {
	Cause        Cause
	Offending    Opt[uint16]
	UsageReports []UsageReport

	Load              Opt[LoadControl]
	Overload          Opt[OverloadControl]
	AdditionalReports Opt[AdditionalReports]
}

// SessionReportRequest is the Session Report Request, TS 29.244 7.5.8.
type SessionReportRequest struct {
	ReportType        ReportType
	DownlinkData      Opt[DownlinkDataReport]
	UsageReports      []UsageReport
	ErrorIndications  []FTEID // remote F-TEIDs that an Error Indication came for
	Load              Opt[LoadControl]
	Overload          Opt[OverloadControl]
	AdditionalReports Opt[AdditionalReports]
	SessionDeleted    bool    // PSDBU of PFCPSRReq-Flags: the UP function deletes the session
	Ignored           IETypes // what stood in it, at any depth, and nothing reads
}

// SessionReportResponse is the Session Report Response, TS 29.244 7.5.9.
type SessionReportResponse struct {
	Cause        Cause
	Offending    Opt[uint16]
	UpdateBARs   []ReportBAR
	DropBuffered bool       // DROBU of PFCPSRRsp-Flags: what is buffered is dropped
	FSEID        Opt[FSEID] // the CP function's, when it changed
	Ignored      IETypes    // what stood in it, at any depth, and nothing reads
}

// Type is the message type.
func (*HeartbeatRequest) Type() MessageType { return TypeHeartbeatRequest }

// Type is the message type.
func (*HeartbeatResponse) Type() MessageType { return TypeHeartbeatResponse }

// Type is the message type.
func (*AssociationSetupRequest) Type() MessageType { return TypeAssociationSetupRequest }

// Type is the message type.
func (*AssociationSetupResponse) Type() MessageType { return TypeAssociationSetupResponse }

// Type is the message type.
func (*AssociationReleaseRequest) Type() MessageType { return TypeAssociationReleaseRequest }

// Type is the message type.
func (*AssociationReleaseResponse) Type() MessageType { return TypeAssociationReleaseResponse }

// Type is the message type.
func (*VersionNotSupportedResponse) Type() MessageType { return TypeVersionNotSupportedResponse }

// Type is the message type.
func (*SessionEstablishmentRequest) Type() MessageType { return TypeSessionEstablishmentRequest }

// Type is the message type.
func (*SessionEstablishmentResponse) Type() MessageType { return TypeSessionEstablishmentResponse }

// Type is the message type.
func (*SessionModificationRequest) Type() MessageType { return TypeSessionModificationRequest }

// Type is the message type.
func (*SessionModificationResponse) Type() MessageType { return TypeSessionModificationResponse }

// Type is the message type.
func (*SessionDeletionRequest) Type() MessageType { return TypeSessionDeletionRequest }

// Type is the message type.
func (*SessionDeletionResponse) Type() MessageType { return TypeSessionDeletionResponse }

// Type is the message type.
func (*AssociationUpdateRequest) Type() MessageType { return TypeAssociationUpdateRequest }

// Type is the message type.
func (*AssociationUpdateResponse) Type() MessageType { return TypeAssociationUpdateResponse }

// Type is the message type.
func (*PFDManagementRequest) Type() MessageType { return TypePFDManagementRequest }

// Type is the message type.
func (*PFDManagementResponse) Type() MessageType { return TypePFDManagementResponse }

// Type is the message type.
func (*NodeReportRequest) Type() MessageType { return TypeNodeReportRequest }

// Type is the message type.
func (*NodeReportResponse) Type() MessageType { return TypeNodeReportResponse }

// Type is the message type.
func (*SessionSetDeletionRequest) Type() MessageType { return TypeSessionSetDeletionRequest }

// Type is the message type.
func (*SessionSetDeletionResponse) Type() MessageType { return TypeSessionSetDeletionResponse }

// Type is the message type.
func (*SessionReportRequest) Type() MessageType { return TypeSessionReportRequest }

// Type is the message type.
func (*SessionReportResponse) Type() MessageType { return TypeSessionReportResponse }
