// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

// PersonQuery names a person, or a place of one: "me", or "telegram:12345".
type PersonQuery struct {
	Name string `json:"name"`
}

// Person is whom recall knows: a name of [people] with all its places, or an owner on
// one channel, who is a person by itself.
type Person struct {
	Name   string   `json:"name"`
	Places []string `json:"places"`
}
