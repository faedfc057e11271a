-- add --
insert into locate (tape, from_byte, to_byte, seconds) values (%(tape)s, %(from_byte)s, %(to_byte)s, %(seconds)s)

-- forget --
delete from locate where tape = %(tape)s and number <= (
  select number from locate where tape = %(tape)s order by number desc offset %(kept)s limit 1)

-- newest --
select max(number) as number from locate where tape = %(tape)s

-- of_tape --
select from_byte, to_byte, seconds from locate where tape = %(tape)s order by number
