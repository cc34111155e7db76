-- a unit in terms of its category's base: the factor, or one by the rate where that has fewer digits
select u.id,
       case when scale(trim_scale(round(u.rate::numeric, 12))) < scale(trim_scale(round(u.factor::numeric, 12)))
              or (scale(trim_scale(round(u.rate::numeric, 12))) = scale(trim_scale(round(u.factor::numeric, 12))) and u.factor < 1)
            then 1 / u.rate::numeric
            else u.factor::numeric
       end as base
  from product_uom u
 where u.rate <> 0 and u.factor <> 0
