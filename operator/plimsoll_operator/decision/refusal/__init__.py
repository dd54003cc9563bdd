"""What is refused and offered: the sentences, the changes that would help, who may lift a refusal, what an open cluster may still get.

Called by `steps` once it is known that nothing fits as asked; `wording` and `long_context` speak of what fits too. Searches by
`search.moves`, judges nothing itself.
"""
