package link

import (
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
)

// TestFeedbackShare: what the two ends of a hop say to each other, repairs apart, is at most
// 2% of the media, when nothing goes wrong, and with the frequent reports of a hop that is
// paced.
func TestFeedbackShare(t *testing.T) {
	for _, tc := range []struct {
		name string
		down float64 // the way, of what the stream takes; 0: no limit
	}{{"calm", 0}, {"paced", 0.95}} {
		t.Run(tc.name, func(t *testing.T) {
			vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: 20 * time.Millisecond}, func(t *testing.T, n *vnet.Network) {
				src := newSpeaker(t)
				defer src.pub.Close()
				stop := src.talk(t)
				defer stop()
				parent := virtual(t, n, "1.2.3.1", vnet.HostConfig{})
				child := virtual(t, n, "1.2.3.2", vnet.HostConfig{Down: int64(tc.down * 250 * 1150 * 8)})
				down, up := pair(t, child, parent)
				down.Serve(src.h)
				up.Take(src.far())
				child.wait(up, Flowing)
				time.Sleep(3 * time.Second)
				down0, up0 := down.Stats(), up.Stats()
				time.Sleep(20 * time.Second)
				down1, up1 := down.Stats(), up.Stats()
				media := float64(down1.MediaOut - down0.MediaOut)
				const wire = stream.HeaderSize + 1000 + stream.SealSize // of a packet of talk
				said := down1.FeedbackOut - down0.FeedbackOut + up1.FeedbackOut - up0.FeedbackOut - (down1.Repairs-down0.Repairs)*wire
				share := float64(said) / media
				t.Logf("figure feedback of a hop, %s: asked <= 2%% of media: %.3f%%, %d repairs, %d skipped, limit %d kbit/s",
					tc.name, 100*share, down1.Repairs-down0.Repairs, down1.Skipped-down0.Skipped, down1.Limit/1000)
				if media == 0 || share > 0.02 {
					t.Errorf("feedback is %.3f of media", share)
				}
			})
		})
	}
}
