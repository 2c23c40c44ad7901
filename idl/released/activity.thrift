namespace go activity

// Kind says what is counted.
enum Kind {
  KIND_UNSPECIFIED = 0
  VIEWED = 1
  BOUGHT = 2
  // Views and sales together; a sale counts as many times as the service is set to.
  BOTH = 3
}

// Record says that an item was looked at, or units of it sold.
struct Record {
  // From 1. A record with an id or a quantity out of its bounds is dropped and counted.
  1: i64 item_id
  // 1 to 10^9.
  2: i64 quantity = 1
  // When, in milliseconds since 1970 in UTC. Absent or in the future: now.
  3: optional i64 at
}

struct RecordReq {
  // At most 1,000; those beyond are dropped and counted. Many in one call cost a
  // fraction of a call each.
  1: list<Record> records
}

struct GetTrendingReq {
  // 1 to 100; 0 is 10.
  1: i32 limit = 10
  // Unspecified is both.
  2: Kind kind = Kind.BOTH
}

// Trend is how much an item is in demand now. Its numbers are decayed: what was
// recorded one half-life ago counts half.
struct Trend {
  1: i64 item_id
  // The count by which the list is ordered, that of the kind asked for.
  2: double score
  // The score is too high by at most this, and never too low. 0 as long as no
  // more items were seen than the service remembers.
  3: double error
  // Views, and units sold. 0 for an item that is not among those remembered for it.
  4: double views
  5: double sales
}

struct GetTrendingResp {
  // The highest score first.
  1: list<Trend> trends
}

service ActivityService {
  // What is recorded is not answered, and may be lost.
  oneway void RecordView(1: RecordReq req)
  oneway void RecordSale(1: RecordReq req)
  GetTrendingResp GetTrending(1: GetTrendingReq req)
}
