package domain

import (
	"context"
	"time"
)

// Line is a quantity of an item at a location.
type Line struct {
	ItemID   int64  `json:"item_id"`
	Quantity int64  `json:"quantity"`
	Location string `json:"location"`
}

// Reservation sets units aside.
type Reservation struct {
	ID        string    `json:"id"`
	State     string    `json:"state"`
	Lines     []Line    `json:"lines"`
	Reference string    `json:"reference"`
	ExpiresAt time.Time `json:"expires_at"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// ReservationPage is a part of the reservations.
type ReservationPage struct {
	Items []Reservation `json:"items"`
	Next  string        `json:"next_cursor,omitzero"`
}

// Reserve asks for a reservation. A TTLSeconds of 0 is stock's default.
type Reserve struct {
	Lines      []Line
	TTLSeconds int64
	Reference  string
	Key        string
}

// Step asks to move a reservation on: commit, fulfil, release or extend.
type Step struct {
	ID   string
	Name string
	// TTLSeconds is for extend.
	TTLSeconds int64
	// Actor is for fulfil: who causes the movements.
	Actor string
	Key   string
}

// ReservationFilter selects reservations; zero fields select all.
type ReservationFilter struct {
	State     string
	ItemID    int64
	Reference string
}

// Reservations is the part of the inventory that sets units aside. Errors are faults.
type Reservations interface {
	Reserve(ctx context.Context, r Reserve) (Reservation, error)
	Step(ctx context.Context, s Step) (Reservation, error)
	Reservation(ctx context.Context, id string) (Reservation, error)
	Reservations(ctx context.Context, f ReservationFilter, limit int, cursor string) (ReservationPage, error)
}
