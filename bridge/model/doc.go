// Package model checks the bridge's protocol exhaustively, in small worlds.
//
// It owns a search through all states of a world, however its actors and messages interleave, and the worlds
// themselves: one hop (payer, provider, payee on two ledgers), the vehicle currency (three ledgers) and the attested
// hold (escrow). A world is the rules of settlement/SPEC.md chapters 8 and 9 written down a second time, as short as
// they can be, without hashes, proofs and bytes; settlement/sim and the tests of the bridge run the real ones.
// What is left out, and why that hides nothing, is in SPEC.md here.
//
// Every rule can be taken out of a world. The tests do so, one after another, and the search must then find a history
// in which somebody loses money: that tests the tests. Two other protocols, hash locks with two time-outs and a time-out
// on the sender's side, are planted in the same world for the same purpose.
package model
