package aka

import "crypto/aes"

// simResync computes MAC-S and AK* as a SIM does, written from TS 35.206 4.1 without the library: OUT1 and OUT5 with
// c1 = 0, r1 = 64 bits, c5 = 8, r5 = 96 bits.
func simResync(k, opc [16]byte, rand [16]byte, sqn [6]byte) (macS [8]byte, ak [6]byte) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err)
	}
	var temp, in1, out [16]byte
	for i := range temp {
		temp[i] = rand[i] ^ opc[i]
	}
	block.Encrypt(temp[:], temp[:])
	copy(in1[:], sqn[:]) // SQN ‖ AMF ‖ SQN ‖ AMF with AMF* = 0000
	copy(in1[8:], sqn[:])
	for i := range in1 {
		out[(i+8)%16] = in1[i] ^ opc[i]
	}
	for i := range out {
		out[i] ^= temp[i]
	}
	block.Encrypt(out[:], out[:])
	for i := range macS {
		macS[i] = out[8+i] ^ opc[8+i]
	}
	for i := range out {
		out[(i+4)%16] = temp[i] ^ opc[i]
	}
	out[15] ^= 8
	block.Encrypt(out[:], out[:])
	for i := range ak {
		ak[i] = out[i] ^ opc[i]
	}
	return macS, ak
}
