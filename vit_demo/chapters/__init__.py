"""The story a visitor walks through, one chapter a file, in this order.

A chapter is a module with a NAME (its station in the ribbon), a TITLE, `station(classifier)` (that station's true
shape) and `scene(look)`: the story, the data of the view that web/ draws, an equation, a thing to try and a snippet
that reproduces a number (`also` holds further ones). Where a reader may ask for more than is shown,
`answer(look, question)` yields it bit by bit; the question is as questions.read() gives it, which alone knows the bounds.
Chapters know nothing of Gradio: they take a Look and give plain dictionaries.
"""

from vit_demo.chapters import attention, decision, depth, experiments, model, patches, picture, projection, tokens

CHAPTERS = (picture, patches, projection, tokens, attention, depth, decision, experiments, model)
