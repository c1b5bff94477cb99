package tree

// Message is what two linked nodes say to each other about one stream over the
// link's control channel; see the types that implement it.
type Message interface{ message() }

// Marshal encodes m for stream s, at most MaxMessage bytes.
func Marshal(s StreamID, m Message) []byte { panic("skeleton") }

// Unmarshal decodes what Marshal made. It never panics, whatever the bytes.
func Unmarshal(b []byte) (StreamID, Message, error) { panic("skeleton") }
