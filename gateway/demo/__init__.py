"""The demonstration: one baht all the way, through the public doors only.

`quickkub demo` starts everything on loopback, plays a merchant, 200 payers and the providers' side, and proves at
the end that the books, the providers' own books, the bank statement and the reports agree.
"""
