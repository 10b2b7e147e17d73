package diameter

// What RFC 6733 fixes.
const (
	version      = 1
	headerLength = 20

	ApplicationBase  uint32 = 0
	ApplicationRelay uint32 = 0xffffffff // RFC 6733 2.4

	CommandCapabilitiesExchange uint32 = 257
	CommandDeviceWatchdog       uint32 = 280
	CommandDisconnectPeer       uint32 = 282
)

// Vendor3GPP is the IANA enterprise number of 3GPP.
const Vendor3GPP uint32 = 10415

// Result-Code values that we send or look at, RFC 6733 7.1.
const (
	Success                uint32 = 2001
	CommandUnsupported     uint32 = 3001
	UnableToDeliver        uint32 = 3002
	RealmNotServed         uint32 = 3003
	TooBusy                uint32 = 3004
	LoopDetected           uint32 = 3005
	ApplicationUnsupported uint32 = 3007
	InvalidHeaderBits      uint32 = 3008
	UnknownPeer            uint32 = 3010
	AVPUnsupported         uint32 = 5001
	InvalidAVPValue        uint32 = 5004
	MissingAVP             uint32 = 5005
	AVPOccursTooManyTimes  uint32 = 5009
	NoCommonApplication    uint32 = 5010
	UnableToComply         uint32 = 5012
	InvalidAVPLength       uint32 = 5014
	NoCommonSecurity       uint32 = 5017
)

// Values of Disconnect-Cause, RFC 6733 5.4.3.
const disconnectRebooting uint32 = 0

// AVPs of the base protocol.
var (
	UserName                    = Standard.AVP("User-Name")
	SessionID                   = Standard.AVP("Session-Id")
	OriginHost                  = Standard.AVP("Origin-Host")
	OriginRealm                 = Standard.AVP("Origin-Realm")
	OriginStateID               = Standard.AVP("Origin-State-Id")
	DestinationHost             = Standard.AVP("Destination-Host")
	DestinationRealm            = Standard.AVP("Destination-Realm")
	ResultCode                  = Standard.AVP("Result-Code")
	ExperimentalResult          = Standard.AVP("Experimental-Result")
	ExperimentalResultCode      = Standard.AVP("Experimental-Result-Code")
	ErrorMessage                = Standard.AVP("Error-Message")
	FailedAVP                   = Standard.AVP("Failed-AVP")
	RouteRecord                 = Standard.AVP("Route-Record")
	ProxyInfo                   = Standard.AVP("Proxy-Info")
	HostIPAddress               = Standard.AVP("Host-IP-Address")
	VendorID                    = Standard.AVP("Vendor-Id")
	ProductName                 = Standard.AVP("Product-Name")
	SupportedVendorID           = Standard.AVP("Supported-Vendor-Id")
	AuthApplicationID           = Standard.AVP("Auth-Application-Id")
	AcctApplicationID           = Standard.AVP("Acct-Application-Id")
	InbandSecurityID            = Standard.AVP("Inband-Security-Id")
	VendorSpecificApplicationID = Standard.AVP("Vendor-Specific-Application-Id")
	AuthSessionState            = Standard.AVP("Auth-Session-State")
	DisconnectCause             = Standard.AVP("Disconnect-Cause")
)
