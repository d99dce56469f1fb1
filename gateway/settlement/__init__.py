"""From available money to a payout that the bank statement proves."""
