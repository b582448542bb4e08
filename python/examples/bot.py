"""A bot: python bot.py 'https://chat.example.org/lobby?public_key=…'"""

import random
import sys

from ackpost.session import AsyncRoom, Bot, Context, Identity, Say

me = Identity.from_phrase_file("bot.txt")
bot = Bot(sys.argv[1], identity=me, name="Helper", store="helper.db")


@bot.command("roll", usage="SIDES", cooldown=5)
async def roll(ctx: Context, sides: int) -> None:  # arguments are converted by annotation; a wrong one answers the usage
    if sides < 1:
        raise Say("A die has at least one side.")
    await ctx.reply(f"{random.randint(1, sides)}")


@bot.command(role="moderator")
async def pin(ctx: Context, number: int) -> None:
    await ctx.room.pin(number)


@bot.on_join
async def hello(ctx: Context) -> None:
    await ctx.reply(f"Welcome, {ctx.author.name}!")


@bot.schedule("09:00", tz="Europe/Berlin")
async def morning(room: AsyncRoom) -> None:
    await room.post("Good morning")


bot.run()  # Ctrl-C stops it; or: await bot.start()
