"""What is free, what is booked for whom, and whose turn it is: the ledger over the capacity index, bookings, pods as they are seen.

Asked in the one serial step of a reconcile. Makes no request; `gates` alone lifts pods' gates once their GPUs are booked.
"""
