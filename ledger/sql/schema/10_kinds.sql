-- What accounts, entries and currencies there are: the database's copy of chart_of_accounts.py, journal.py and money.py.
-- A later kind comes with its own migration; `verify` compares the two.
-- statement
CREATE TABLE ledger.currencies (
    currency text COLLATE "C" PRIMARY KEY CHECK (currency ~ '^[A-Z]{3}$'),
    exponent smallint NOT NULL CHECK (exponent BETWEEN 0 AND 18))
-- statement
INSERT INTO ledger.currencies VALUES ('THB', 2), ('USD', 2), ('EUR', 2), ('SGD', 2), ('JPY', 0), ('KWD', 3)
-- statement
CREATE TABLE ledger.account_kinds (
    kind smallint PRIMARY KEY, name text NOT NULL, code text NOT NULL, account_class text NOT NULL,
    normal_side text NOT NULL CHECK (normal_side IN ('D', 'C')), floor_minor bigint, ceiling_minor bigint,
    owned boolean NOT NULL)
-- statement
INSERT INTO ledger.account_kinds VALUES
    (10, 'provider_receivable', '1110', 'asset', 'D', NULL, NULL, true),
    (11, 'bank', '1010', 'asset', 'D', NULL, NULL, true),
    (12, 'input_vat', '1210', 'asset', 'D', NULL, NULL, false),
    (13, 'wht_receivable', '1220', 'asset', 'D', NULL, NULL, true),
    (14, 'prepaid_tax', '1230', 'asset', 'D', NULL, NULL, false),
    (15, 'merchant_receivable', '1120', 'asset', 'D', NULL, NULL, true),
    (16, 'payer_receivable', '1130', 'asset', 'D', NULL, NULL, true),
    (30, 'merchant_pending', '2010', 'liability', 'C', 0, NULL, true),
    (31, 'merchant_available', '2020', 'liability', 'C', 0, NULL, true),
    (32, 'merchant_reserve', '2030', 'liability', 'C', 0, NULL, true),
    (33, 'dispute_hold', '2040', 'liability', 'C', 0, NULL, true),
    (34, 'refunds_payable', '2050', 'liability', 'C', 0, NULL, true),
    (35, 'payouts_in_transit', '2060', 'liability', 'C', 0, NULL, true),
    (36, 'payer_refundable', '2070', 'liability', 'C', 0, NULL, true),
    (37, 'unidentified_receipts', '2080', 'liability', 'C', 0, NULL, true),
    (38, 'output_vat', '2110', 'liability', 'C', NULL, NULL, false),
    (39, 'wht_payable', '2120', 'liability', 'C', NULL, NULL, false),
    (40, 'clearing', '1900', 'asset', 'D', NULL, NULL, true),
    (50, 'fx_position', '3020', 'equity', 'C', NULL, NULL, true),
    (51, 'capital', '3010', 'equity', 'C', NULL, NULL, false),
    (52, 'retained_earnings', '3030', 'equity', 'C', NULL, NULL, false),
    (60, 'fee_income', '4010', 'income', 'C', NULL, NULL, true),
    (61, 'fx_gain_loss', '4910', 'income', 'C', NULL, NULL, false),
    (62, 'rounding', '4920', 'income', 'C', NULL, NULL, false),
    (80, 'provider_fee_expense', '5010', 'expense', 'D', NULL, NULL, true),
    (81, 'bank_fee_expense', '5020', 'expense', 'D', NULL, NULL, true),
    (82, 'bad_debt', '5030', 'expense', 'D', NULL, NULL, true)
-- statement
CREATE TABLE ledger.entry_kinds (
    kind smallint PRIMARY KEY, name text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('recording', 'authorising', 'adjusting')),
    postable boolean NOT NULL)
-- statement
INSERT INTO ledger.entry_kinds VALUES
    (100, 'payment_captured', 'recording', false),
    (101, 'payer_money_held', 'recording', false),
    (102, 'payer_money_accepted', 'recording', false),
    (103, 'payer_money_returned', 'recording', false),
    (104, 'payer_money_came_back', 'recording', false),
    (105, 'payment_marked', 'recording', false),
    (106, 'payment_mark_proved', 'recording', false),
    (200, 'refund_reserved', 'authorising', false),
    (201, 'refund_succeeded', 'recording', false),
    (202, 'refund_failed', 'recording', false),
    (203, 'refund_paid', 'recording', false),
    (204, 'refund_came_back', 'recording', false),
    (205, 'refund_marked', 'recording', false),
    (206, 'refund_mark_proved', 'recording', false),
    (207, 'refund_mark_undone', 'recording', false),
    (220, 'dispute_held', 'recording', false),
    (221, 'dispute_released', 'recording', false),
    (222, 'dispute_funds_withdrawn', 'recording', false),
    (223, 'dispute_funds_reinstated', 'recording', false),
    (224, 'dispute_fee_charged', 'recording', false),
    (300, 'became_available', 'recording', false),
    (302, 'merchant_debt_recognised', 'recording', false),
    (303, 'merchant_debt_recovered', 'recording', false),
    (310, 'provider_settled', 'recording', false),
    (311, 'provider_fee_charged', 'recording', false),
    (312, 'bank_fee_charged', 'recording', false),
    (313, 'unidentified_credit', 'recording', false),
    (314, 'receipt_identified', 'recording', false),
    (400, 'payout_requested', 'authorising', false),
    (401, 'payout_paid', 'recording', false),
    (402, 'payout_rejected', 'recording', false),
    (403, 'payout_returned', 'recording', false),
    (404, 'payout_marked', 'recording', false),
    (405, 'payout_mark_proved', 'recording', false),
    (500, 'fx_exchanged', 'authorising', true),
    (501, 'fx_revalued', 'authorising', true),
    (600, 'book_transfer_sent', 'authorising', false),
    (601, 'book_transfer_received', 'recording', false),
    (700, 'hold_placed', 'authorising', true),
    (701, 'hold_posted', 'authorising', true),
    (702, 'hold_released', 'recording', true),
    (703, 'hold_expired', 'recording', false),
    (900, 'operator_entry', 'authorising', true),
    (901, 'entry_reversed', 'authorising', true),
    (902, 'period_adjusted', 'adjusting', true),
    (903, 'year_closed', 'adjusting', false),
    (904, 'history_imported', 'recording', false)
