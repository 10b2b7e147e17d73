// Package diameter owns the Diameter base protocol (RFC 6733): framing, AVPs, the dictionary, and the peer layer with
// capabilities exchange, watchdog (RFC 3539) and disconnection. Handlers of an application get requests whose form has
// been checked and return AVPs or an *Error; the peer layer alone writes answers. It never knows what a command does,
// and never decides by anything but its configuration who may connect.
//
// The octets of a message, RFC 6733 3:
//
//	octet 1    version, 1
//	octets 2-4 length of the message with its header, a multiple of 4
//	octet 5    flags R P E T
//	octets 6-8 command code
//	octets 9-12 application, 13-16 hop-by-hop id, 17-20 end-to-end id
//	then AVPs: code (4), flags V M P (1), length (3), vendor (4, if V), data, filled up to a multiple of 4
package diameter
