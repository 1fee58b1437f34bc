package entry

import (
	"crypto/sha512"
	"io"

	"github.com/comity-ledger/comity/zk"
)

// Purposes a view key is registered for. The purpose and what it is for are part of the message, so that the proof for a reader
// key is none for an oversight key.
const (
	purposeReader    = "reader"
	purposeOversight = "oversight"
)

// possessionMessage is SHA-512("comity/possession/v1" || ledger || purpose || which) mod r, signed with Schnorr on Jubjub by the
// registered key itself. Without it somebody could register a key that is a function of another's (a rogue key) or one that
// nobody holds, and payments would be encrypted to no one.
func possessionMessage(ledger GenesisHash, purpose string, which []byte) zk.Field {
	buf := append([]byte("comity/possession/v1"), ledger[:]...)
	buf = append(append(buf, purpose...), which...)
	return zk.FieldFromWide(sha512.Sum512(buf))
}

// ReaderPossession is the message by which the holder of a programme's reader key proves possession.
func ReaderPossession(ledger GenesisHash, programme zk.ProgrammeID) zk.Field {
	return possessionMessage(ledger, purposeReader, put64(nil, uint64(programme)))
}

// OversightPossession is the message for an epoch's oversight key. For the first epoch, whose key is part of genesis, ledger is
// [Genesis.DraftHash].
func OversightPossession(ledger GenesisHash, epoch uint32) zk.Field {
	return possessionMessage(ledger, purposeOversight, put32(nil, epoch))
}

// ProvePossession signs a possession message with the secret of the key it speaks of.
func ProvePossession(secret zk.Scalar, msg zk.Field, rand io.Reader) zk.Signature {
	return zk.Sign(secret, msg.Element(), rand)
}

// CheckPossession tells whether key signed msg.
func CheckPossession(key zk.Point, msg zk.Field, sig zk.Signature) bool {
	return zk.VerifySignature(key, msg.Element(), sig)
}
