// SPDX-License-Identifier: MIT OR Apache-2.0

// Package cost is the room that keeps the ledger: it grants leave to make a
// model call, books what the call used, and holds spending within the budgets.
//
// # A call's life
//
// Before a call the agent asks cost.reserve with an estimate. The room takes the
// dearest the call can become, all input at the dearest input price and every
// output token that was asked for, and sets that much aside, if what is spent,
// what is set aside and this call together stay within the daily and the monthly
// budget. After the call the agent tells cost.settle the tokens used. That books
// the real amount and ends the reservation. Both are idempotent by the call's id:
// asked again they answer the same and change nothing.
//
// Every check runs inside the database's one write transaction, so no number of
// callers at once can pass a limit together. A settlement is never refused for
// the budget's sake: the money is gone. So spending can pass a limit only by as
// much as a call cost more than its estimate.
//
// # Failing closed
//
// A model without a price is refused, and its settlement is refused too, which
// leaves it with the agent, who tries again: it is booked once the price is
// known. A free model is never refused, neither by a budget nor by the kill
// switch, and its reservation writes nothing.
//
// The kill switch (ctl.spending.set) outlives restarts and holds from the next
// cost.reserve on, also for one asked again; calls under way are still booked.
//
// # Money
//
// Amounts are whole micro-dollars ([bus.MicroUSD]). A price in dollars per
// million tokens is kept as micro-dollars per million tokens, so tokens times
// price is exact, and one division per call rounds up. There are no sums of
// floats.
//
// # Days and months
//
// Both are of the owner's local calendar. A day's key is its date; there is no
// timer at midnight and no arithmetic with 24 hours, so a change of clocks does
// not matter. A settlement counts for the day on which its call ended.
//
// # Events
//
// BudgetWarned (80 %) and BudgetExhausted are said once for a period and a
// limit: a raised limit can be reached anew. A budget counts as exhausted when it
// is spent, or when a call that alone would fit into it was refused for what is
// already spent; for the worst case of the next call rarely fits the last cents.
//
// # Tables
//
// cost_ledger has a row per call and is swept after ledger_days. cost_day adds
// them up by day, model and purpose, cost_period by day and month; both stay for
// good. A call settled again after its row was swept would be booked again, so
// nobody may try for that long. cost_reservation holds what is set aside; rows of an earlier boot are
// released at start, because the agent reserves anew when it resumes, and rows
// older than an hour are released as well, because no call lasts that long.
package cost
