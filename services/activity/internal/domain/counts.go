package domain

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
)

// counts finds the items that weigh most, in bounded memory: Space-Saving by
// Metwally, Agrawal and El Abbadi (2005), with weights.
//
// Of all items it remembers capacity. A new one takes the place of the lightest
// and begins with its weight, which may be too much for it: the excess. So a
// weight is never too low; it is too high by at most the excess, which is at
// most the sum of all that was added, divided by capacity; and an item heavier
// than that is always remembered.
type counts struct {
	capacity int
	heap     byWeight
}

// counter is an item with a weight of at most, and at least excess less than, weight.
type counter struct {
	item           int64
	weight, excess float64
}

func newCounts(capacity int) *counts {
	return &counts{capacity: capacity, heap: byWeight{place: map[int64]int{}}}
}

func (c *counts) add(item int64, weight float64) {
	place, known := c.heap.place[item]
	switch {
	case known:
		c.heap.counters[place].weight += weight
		heap.Fix(&c.heap, place)
	case len(c.heap.counters) < c.capacity:
		heap.Push(&c.heap, counter{item: item, weight: weight})
	default:
		lightest := c.heap.counters[0]
		delete(c.heap.place, lightest.item)
		c.heap.counters[0] = counter{item: item, weight: lightest.weight + weight, excess: lightest.weight}
		c.heap.place[item] = 0
		heap.Fix(&c.heap, 0)
	}
}

// weight is 0 for an item that is not remembered.
func (c *counts) weight(item int64) float64 {
	if place, known := c.heap.place[item]; known {
		return c.heap.counters[place].weight
	}
	return 0
}

// halve divides all weights by 2 to the power of times, without rounding them.
func (c *counts) halve(times int) {
	for i := range c.heap.counters {
		one := &c.heap.counters[i]
		one.weight, one.excess = math.Ldexp(one.weight, -times), math.Ldexp(one.excess, -times)
	}
}

// heaviest lists at most limit items, the heaviest first, and of equals the lower id.
func (c *counts) heaviest(limit int) []counter {
	best := make([]counter, 0, limit+1)
	for _, one := range c.heap.counters {
		place, _ := slices.BinarySearchFunc(best, one, func(a, b counter) int {
			return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.item, b.item))
		})
		if place < limit && one.weight > 0 {
			best = slices.Insert(best, place, one)
			best = best[:min(len(best), limit)]
		}
	}
	return best
}

// byWeight is a heap with the lightest counter on top, and the places of the items in it.
type byWeight struct {
	counters []counter
	place    map[int64]int
}

// Len implements heap.Interface.
func (h *byWeight) Len() int { return len(h.counters) }

// Less implements heap.Interface.
func (h *byWeight) Less(i, j int) bool { return h.counters[i].weight < h.counters[j].weight }

// Swap implements heap.Interface.
func (h *byWeight) Swap(i, j int) {
	h.counters[i], h.counters[j] = h.counters[j], h.counters[i]
	h.place[h.counters[i].item], h.place[h.counters[j].item] = i, j
}

// Push implements heap.Interface.
func (h *byWeight) Push(x any) {
	one, _ := x.(counter)
	h.place[one.item] = len(h.counters)
	h.counters = append(h.counters, one)
}

// Pop implements heap.Interface, which needs it; nothing is ever popped.
func (h *byWeight) Pop() any { return nil }
