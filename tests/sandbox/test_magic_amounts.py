"""The table of magic amounts."""

from gateway.sandbox.faults import FAULTS_OF_OPERATION, MAGIC_AMOUNTS


def test_every_fault_can_be_had_by_a_magic_amount():
    ordered = {(operation, kind) for operation, kinds in FAULTS_OF_OPERATION.items() for kind in kinds}
    magic = {(operation, fault.kind) for operation, fault in MAGIC_AMOUNTS.values()}
    assert magic <= ordered
    assert {kind for _, kind in magic} == {kind for _, kind in ordered}
