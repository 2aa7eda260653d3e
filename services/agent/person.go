// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

// person is whose session it is, as recall knows people: an owner of the same name on
// another channel is somebody else.
func (s *Service) person(key sessionKey) string { return key.channel + ":" + key.owner }
